"""The table of beliefs: whole, checked, and what the local server and the code go by."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest
from getstream.plugins.gemini._beliefs import believed
from getstream.plugins.gemini._cli.checks import gemini as checks
from getstream.plugins.gemini._cli.doctor import DEFAULT_MODEL
from getstream.plugins.gemini.errors import AuthError, ModelNotFoundError
from getstream.plugins.gemini.testing import (
    BELIEFS,
    SESSION_NOT_FOUND,
    ActivityOptions,
    InterruptionOptions,
    LocalGemini,
    ResumptionOptions,
)
from google.genai import types

PACKAGE = "getstream.plugins.gemini"


def test_every_entry_is_whole() -> None:
    names = [belief.name for belief in BELIEFS]
    assert len(set(names)) == len(names)
    for belief in BELIEFS:
        assert belief.name.isidentifier()
        assert belief.name.islower()
        for text in (belief.claim, belief.local, belief.check):
            assert text.endswith(".")
        assert belief.evidence
        assert all(belief.evidence)


@pytest.mark.parametrize(
    ("parameter", "belief"),
    [
        ("chunk_ms", "chunk_size"),
        ("speed", "pace"),
        ("turn_complete_after", "turn_complete_time"),
        ("interaction_status_in", "interaction_status_place"),
        ("transcripts", "output_transcript_in_time"),
        ("transcripts", "input_transcript_first"),
        ("announced_end_s", "early_go_away"),
        ("pong_delay_s", "pong_delay"),
        ("deflate", "deflate"),
    ],
)
def test_the_local_server_does_what_is_believed(parameter: str, belief: str) -> None:
    default = inspect.signature(LocalGemini).parameters[parameter].default
    assert type(default) is type(believed(belief))
    assert default == believed(belief)


def test_the_options_of_the_local_server_are_what_is_believed() -> None:
    assert ActivityOptions().silence_duration_ms == believed("silence_ends_turn")
    resumption = ResumptionOptions()
    assert resumption.unasked is believed("handles_unasked")
    assert resumption.every_s is believed("handles_in_turns")
    assert resumption.holds_audio is believed("handle_holds_audio")
    assert resumption.needs_closed is believed("handle_needs_closed")
    assert resumption.refusal == SESSION_NOT_FOUND
    assert (SESSION_NOT_FOUND.code, SESSION_NOT_FOUND.reason) == believed("handle_refused")[0]
    assert InterruptionOptions().late == believed("after_interruption")
    assert InterruptionOptions().unprovoked is believed("interrupted_unprovoked")


def module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def test_the_code_goes_by_what_is_believed() -> None:
    assert believed("api_version") == module("live._session.connection").API_VERSION
    assert module("live._session.connection").SILENT_S >= 30  # `pong_delay`
    assert believed("output_rate") == module("live._session.protocol").DEFAULT_RATE
    extended = module("live._models").model_of(checks.THINKING_MODEL)
    assert extended.levels == set(believed("thinking_level_required"))
    assert extended.default_level in extended.levels
    assert module("live._models").model_of("gemini-3.8-live").thinking == "none"
    assert module("live._models").DEFAULT_MODEL == DEFAULT_MODEL
    capture = inspect.signature(module("live._media.capture").AudioInput.__init__).parameters
    assert capture["tail_ms"].default == checks.SILENCE_S * 1000


def test_the_fields_that_are_known_are_those_of_the_sdk() -> None:
    def fields(model: Any) -> set[str]:
        return {field.alias or name for name, field in model.model_fields.items()}

    # At the top level it is on Google's pages, and not in the SDK's type.
    assert "interactionStatus" in checks.KNOWN_MESSAGE
    assert fields(types.LiveServerMessage) <= checks.KNOWN_MESSAGE
    assert fields(types.LiveServerContent) <= checks.KNOWN_CONTENT
    assert "someFutureField" not in checks.KNOWN_MESSAGE | checks.KNOWN_CONTENT


def test_the_refusals_that_are_believed_have_their_errors() -> None:
    refusal = module("live._session.close_errors").refusal
    assert isinstance(refusal(*believed("key_refused"), "m"), AuthError)
    assert isinstance(refusal(*believed("model_unknown"), "m"), ModelNotFoundError)
