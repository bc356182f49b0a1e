"""Check this machine and the way to the services, or whether the services are as believed."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from .._beliefs import BELIEFS
from ..audio import Resampler
from ..errors import ConfigError, GeminiError
from .checks import network
from .checks.access import check_gemini_access, check_stream_access
from .checks.findings import Finding, complete
from .checks.results import Result, State, failed, not_checked, passed, warned, worst
from .checks.wire_client import Patience, Service
from .environment import GEMINI_HOST, KEY_VARIABLES

__all__ = ["DoctorOptions", "run_doctor"]

STREAM_VARIABLES = ("STREAM_API_KEY", "STREAM_API_SECRET")
BASE_URL_VARIABLE = "GOOGLE_GEMINI_BASE_URL"
MODEL_VARIABLE = "GEMINI_LIVE_MODEL"
DEFAULT_MODEL = "gemini-3.8-live"
DISTRIBUTIONS = (
    "getstream-plugins-gemini",
    "getstream",
    "getstream-rtc",
    "google-genai",
    "websockets",
    "numpy",
)

MINUTES = 3
"""Longest duration of `--live` when nothing is wrong, two connections at a time."""

DEVIATES = 3
"""Exit code: everything could be checked, and some belief does not hold."""

FORMAT = 1
"""Version of the JSON document; names in it are only added within one."""

TESTING_ADVICE = "pip install 'getstream-plugins-gemini[testing]'"

_STATES: dict[State, str] = {"ok": "ok", "warning": "!", "failed": "NO", "not checked": "-"}
_MARKS = {"holds": "ok", "fails": "NO", "unclear": "?", "not checked": "-", "by hand": "hand"}


@dataclass(frozen=True)
class DoctorOptions:
    """Hold the command line of `doctor`."""

    live: bool = False
    yes: bool = False
    model: str | None = None
    out: Path = Path("doctor-report.json")
    json: bool = False
    call: bool = True


def run_doctor(
    options: DoctorOptions,
    *,
    patience: Patience | None = None,
    speed: float = 1.0,
    at_once: int = 2,
) -> int:
    """Check this machine and the way to the services; with `live`, what is believed of them.

    Args:
        options: The command line.
        patience: How long to wait for the service.
        speed: How much faster than real time the service is spoken to: a local one may be.
        at_once: Connections to Gemini Live at the same time.

    Returns:
        0, or `DEVIATES` if some belief does not hold.

    Raises:
        DoctorError: Something keeps the assistant from working; the message names it.
        ConfigError: A key is missing, nobody agreed to the cost, or the report cannot be written.
        SessionError: Gemini Live cannot be reached, or refused the key or the model.
    """
    document: dict[str, Any] = {"doctor": FORMAT, **_installed_document(options)}
    try:
        with _silence(options.json):
            _print_installed()
            if options.live:
                return _run_live(options, document, patience or Patience(), speed, at_once)
            return _run_checks(options, document, patience or Patience(connect_s=ACCESS_S))
    except GeminiError as error:
        document["error"] = str(error)
        raise
    finally:
        if options.json:
            _print_json(document)


class DoctorError(GeminiError):
    """Something keeps the assistant from working here."""


ACCESS_S = 10.0
"""Longest wait for Gemini Live to answer a setup, in seconds."""


@contextlib.contextmanager
def _silence(wanted: bool) -> Iterator[None]:
    """Swallow what is printed: with `--json` everything on stdout is the document."""
    if not wanted:
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _print_json(document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2)
    for secret in [*_gemini_keys(os.environ), *_stream_secrets()]:
        if secret:
            text = text.replace(secret, "[hidden]")
    print(text, flush=True)


# -- this machine, and the way to the services -------------------------------------------------


def _run_checks(options: DoctorOptions, document: dict[str, Any], patience: Patience) -> int:
    results: list[Result] = []
    document["checks"] = []

    def show(result: Result) -> None:
        results.append(result)
        document["checks"].append(asdict(result))
        document["verdict"] = worst(results)
        print(f"  {_STATES[result.state]:4}{result.name:27} {result.seen}", flush=True)
        if result.advice:
            print(f"{'':6}{result.advice}", flush=True)

    print()
    for result in (_check_keys(os.environ), _check_model(options), _check_core()):
        show(result)
    wall, monotonic = time.time(), time.monotonic()
    ways = network.try_ways(network.endpoints(os.environ))
    for way in ways:
        show(network.judge_way(way))
    show(network.judge_clock(ways, time.time() - wall, time.monotonic() - monotonic))
    reached = {way.endpoint.name for way in ways if way.stage == "done"}
    show(_check_gemini(options, patience, reached="network.gemini" in reached))
    show(_check_stream(reached="network.stream.api" in reached))
    show(_check_speed(options))
    print("\n`doctor --live` checks what this package believes of the services.")
    wrong = [result for result in results if result.state == "failed"]
    if wrong:
        names = ", ".join(result.name for result in wrong)
        raise DoctorError(f"the assistant will not work here: {names}. {wrong[0].advice}".rstrip())
    return 0


def _check_keys(environment: Mapping[str, str]) -> Result:
    name = "keys"
    missing = [
        what
        for what, present in (
            ("Gemini (GOOGLE_API_KEY)", any(_gemini_keys(environment))),
            (f"Stream ({', '.join(STREAM_VARIABLES)})", all(_stream_secrets())),
        )
        if not present
    ]
    odd = [each for each in (*KEY_VARIABLES, *STREAM_VARIABLES)
           if not _is_well_formed(environment.get(each, "").strip())]  # fmt: skip
    if odd:
        advice = "Copy the key again: without quotes, spaces and line ends in it."
        return failed(name, f"{', '.join(odd)}: a character that no key has", advice)
    if missing:
        advice = (
            "Set them to join real calls: https://aistudio.google.com/apikey and "
            "https://dashboard.getstream.io. `demo` needs none."
        )
        return warned(name, f"none for {' and '.join(missing)}", advice)
    return passed(name, "those of Gemini and of Stream are set")


def _is_well_formed(key: str) -> bool:
    return key.isascii() and (key.isprintable() and not set(key) & set(" '\""))


def _check_model(options: DoctorOptions) -> Result:
    """Say which model will be used, and what it takes."""
    from ..live._models import RETIRED_MODELS, is_known, model_of

    name = _model(options, os.environ)
    retired = RETIRED_MODELS.get(name)
    if retired is not None:
        return warned(
            "model",
            f"{name} was shut down on {retired.shut_down}; {retired.successor} is used",
            "Name a current model, or none.",
        )
    if not is_known(name):
        return warned(
            "model",
            f"{name}: this package does not know which options it takes",
            "Options are sent as they are, and the service may refuse them.",
        )
    model = model_of(name)
    thinking = {"none": "no thinking", "either": "thinking"}.get(
        model.thinking, f"thinking by {model.thinking}"
    )
    tools = " or ".join(each.lower().replace("_", "-") for each in model.tool_behaviors)
    proactive = {"always": "may choose not to answer", "never": "always answers"}.get(
        model.proactive, "may be asked to choose whether to answer"
    )
    return passed("model", f"{name}: {thinking}, {tools} tools, {proactive}")


def _check_core() -> Result:
    kernel = Resampler(48000, 16000).kernel
    if "scalar" in kernel.lower():
        return warned(
            "core",
            "audio core without vector instructions of this processor",
            "It works, and needs several times the CPU: AVX2 with FMA, or NEON, is missing here.",
        )
    return passed("core", f"audio core uses {kernel}")


def _check_gemini(options: DoctorOptions, patience: Patience, *, reached: bool) -> Result:
    name = "access.gemini"
    if not any(_gemini_keys(os.environ)):
        return not_checked(name, "no key")
    if not reached:
        return not_checked(name, "the service was not reached")
    try:
        service = _service(options, os.environ, patience, 1.0)
    except ConfigError as error:
        return not_checked(name, str(error))
    return asyncio.run(check_gemini_access(service))


def _check_stream(*, reached: bool) -> Result:
    name = "access.stream"
    if not all(_stream_secrets()):
        return not_checked(name, "no keys")
    if not reached:
        return not_checked(name, "the service was not reached")
    return asyncio.run(check_stream_access(_stream_secrets()))


def _check_speed(options: DoctorOptions) -> Result:
    if not options.call:
        return not_checked("speed", "left out (--no-call)")
    try:
        from .checks.speed import SECONDS, check_speed
    except ModuleNotFoundError as missing:
        if missing.name != "trustme":
            raise
        return not_checked("speed", "the local servers are not installed", TESTING_ADVICE)
    print(f"      a call on local servers is measured for {SECONDS:.0f} s ...", flush=True)
    return asyncio.run(check_speed())


# -- what is believed of the services ----------------------------------------------------------


def _run_live(
    options: DoctorOptions,
    document: dict[str, Any],
    patience: Patience,
    speed: float,
    at_once: int,
) -> int:
    service = _service(options, os.environ, patience, speed)
    stream = all(_stream_secrets())
    _ask(options, stream=stream)
    with _Report(options.out) as report:
        findings = asyncio.run(_check(service, at_once, stream=stream))
        believed = _document(service, findings)
        report.write(believed, _secrets(service))
    document["beliefs"] = believed["beliefs"]
    _print_summary(findings, options.out)
    return DEVIATES if any(finding.verdict == "fails" for finding in findings) else 0


# -- what is installed -------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    versions = {name: _installed(name) for name in DISTRIBUTIONS}
    return {**versions, "python": platform.python_version(), "platform": platform.platform()}


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _installed_document(options: DoctorOptions) -> dict[str, Any]:
    return {
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": _versions(),
        "keys": {
            name: bool(os.environ.get(name, "").strip())
            for name in (*KEY_VARIABLES, *STREAM_VARIABLES)
        },
        "model": _model(options, os.environ),
        "core": {"kernel": Resampler(48000, 16000).kernel, "processors": os.cpu_count()},
    }


def _print_installed() -> None:
    for name, number in _versions().items():
        print(f"{name:26} {number}")
    print(f"{'audio core':26} {Resampler(48000, 16000).kernel} kernel")
    for name in (*KEY_VARIABLES, *STREAM_VARIABLES):
        state = "set" if os.environ.get(name, "").strip() else "not set"
        print(f"{name:26} {state}")


# -- the checks --------------------------------------------------------------------------------


def _service(
    options: DoctorOptions, environment: Mapping[str, str], patience: Patience, speed: float
) -> Service:
    key = next(filter(None, _gemini_keys(environment)), "")
    if not key:
        raise ConfigError(
            "doctor --live needs a key for Gemini: set GOOGLE_API_KEY or GEMINI_API_KEY. "
            "Keys: https://aistudio.google.com/apikey (Vertex AI is not checked)"
        )
    if key.startswith("auth_tokens/"):
        raise ConfigError(
            "doctor --live opens more sessions than an ephemeral token allows; set an API key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("The Gemini API key holds a character that no key has; copy it again")
    base_url = environment.get(BASE_URL_VARIABLE, "").strip() or f"https://{GEMINI_HOST}"
    model = _model(options, environment)
    service = Service(base_url, key, model, speed=speed, patience=patience)
    _ = service.url  # refused now, if it is no address
    return service


def _model(options: DoctorOptions, environment: Mapping[str, str]) -> str:
    model = options.model or environment.get(MODEL_VARIABLE, "").strip() or DEFAULT_MODEL
    return model.rpartition("/")[2]


def _gemini_keys(environment: Mapping[str, str]) -> list[str]:
    return [environment.get(name, "").strip() for name in KEY_VARIABLES]


def _ask(options: DoctorOptions, *, stream: bool) -> None:
    """Say what the checks do and cost, and wait for a yes.

    Raises:
        ConfigError: There was none.
    """
    # Not above: it needs the extra `testing`, which plain `doctor` does not.
    from ..live._telemetry.prices import PRICES_AS_OF
    from .checks.gemini import PROBES, estimated_cost

    count = sum(belief.automatic for belief in BELIEFS)
    cents = max(1, round(estimated_cost() * 100))
    print(
        f"\n{count} beliefs about the services are checked with your keys, in about {MINUTES} "
        f"minutes.\nGemini Live: about {2 * len(PROBES)} short sessions with recorded speech, "
        f"about {cents} US cents by the price list of {PRICES_AS_OF}."
    )
    if stream:
        print("Stream: one call of two participants, half a minute.")
    else:
        print(f"Stream: not checked ({' and '.join(STREAM_VARIABLES)} are not set).")
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("Nobody can be asked here: add --yes to agree to this")
    if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
        raise ConfigError("Nothing was checked")


async def _check(service: Service, at_once: int, *, stream: bool) -> list[Finding]:
    from .checks.gemini import check_gemini, find_access

    found: list[Finding] = []
    reasons: dict[str, str] = {}

    def show(finding: Finding) -> None:
        found.append(finding)
        print(f"  {_MARKS[finding.verdict]:5}{finding.name}: {finding.seen}", flush=True)

    print("\nGemini Live", flush=True)
    for finding in await find_access(service):
        show(finding)
    await check_gemini(service, at_once=at_once, on_found=show)
    if stream:
        from .checks.stream import check_stream  # with the SDK, which takes a second to import

        print("Stream", flush=True)
        await check_stream(_stream_secrets(), show)
    else:
        reasons["Stream"] = "no keys"
    return complete(found, reasons)


# -- the report --------------------------------------------------------------------------------


def _document(service: Service, findings: Sequence[Finding]) -> dict[str, Any]:
    beliefs = {belief.name: belief for belief in BELIEFS}
    host = urlsplit(service.base_url).hostname
    return {
        "report": "getstream-gemini doctor 1",
        "made_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": _versions(),
        "gemini": {
            "host": host if host == GEMINI_HOST else "another one",
            "model": service.model,
            "api_version": service.version,
        },
        "beliefs": [
            {
                "service": beliefs[finding.name].service,
                "claim": beliefs[finding.name].claim,
                "support": beliefs[finding.name].support,
                **asdict(finding),
            }
            for finding in findings
        ],
    }


def _stream_secrets() -> list[str]:
    return [os.environ.get(name, "").strip() for name in STREAM_VARIABLES]


def _secrets(service: Service) -> list[str]:
    """Return what must not be in the report: keys, handles, and what was said."""
    received = [each for line in service.lines for each in line.received]
    handles = [each.handle for each in received]
    said = [
        each.transcript(name).strip()
        for each in received
        for name in ("inputTranscription", "outputTranscription")
    ]
    # A word or two of a transcript is in any text; a key is never so short.
    return [service.key, *_stream_secrets(), *handles, *(each for each in said if len(each) > 24)]


class _Report:
    """Open the file of the report before the checks, so that they are not made in vain.

    Args:
        path: Where it goes; what is there is replaced.

    Raises:
        ConfigError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.unlink(missing_ok=True)
            # New, and so of these rights whatever was there; not through a link.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._file = os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error

    def write(self, document: dict[str, Any], secrets: Sequence[str]) -> None:
        """Write the document without the secrets."""
        text = json.dumps(document, indent=2, ensure_ascii=False)
        for secret in secrets:
            if secret:
                text = text.replace(secret, "[hidden]")
        self._file.write(text + "\n")

    def __enter__(self) -> _Report:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if exc is not None:
            self._path.unlink(missing_ok=True)


def _print_summary(findings: Sequence[Finding], out: Path) -> None:
    by_hand = [finding for finding in findings if finding.verdict == "by hand"]
    print("\nBy hand:")
    for finding in by_hand:
        print(f"  {finding.name}: {finding.seen}")
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    print(f"Report: {out} (without keys, handles and transcripts; attach it to an issue)")
