"""State what this package believes about the services, as data.

Nobody can read the source of Gemini Live or of Stream's edge. What the code takes for granted about
them comes from documentation, from reports of others, or is assumed. Each such belief is one entry
of `BELIEFS`: the claim, what supports it, what the local servers do, and how to check it. The local
Gemini server takes its defaults from here (`believed`), and `getstream-gemini doctor --live` checks
the entries against the real services.

Standard library only: the local servers, the command line and tests read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["BELIEFS", "Belief", "believed"]

Service = Literal["Gemini Live", "Stream"]
Support = Literal["documented", "reported", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Belief:
    """State one belief about a service.

    Attributes:
        name: Its name in reports; lower case with underscores.
        service: Which service it is about.
        claim: What is believed, as a sentence that can be wrong.
        value: The same as data, where the local servers read it; None where a sentence is all.
        support: `documented` by the provider, `reported` by others, or `assumed`.
        evidence: Where it comes from.
        local: What the local server does, and which option makes it deviate.
        check: How to check it: what `doctor --live` does, or what to do by hand.
        automatic: Whether `doctor --live` checks it.
    """

    name: str
    service: Service = "Gemini Live"
    claim: str
    value: Any = None
    support: Support
    evidence: tuple[str, ...]
    local: str
    check: str
    automatic: bool = True


BELIEFS: tuple[Belief, ...] = (
    # -- connecting ----------------------------------------------------------------------------
    Belief(
        name="api_version",
        claim="The API version v1beta serves Live sessions.",
        value="v1beta",
        support="reported",
        evidence=("every public log of a working Live session", "google-genai 3 dials v1 instead"),
        local="Serves every version; LocalGemini(versions=) serves some.",
        check="Connects with v1beta, and with v1 when that fails; the rest uses what works.",
    ),
    Belief(
        name="deflate",
        claim="permessage-deflate is not negotiated, even if the client offers it.",
        value=False,
        support="assumed",
        evidence=("google-genai offers it by default; no log shows that it was accepted",),
        local="Does not negotiate it; LocalGemini(deflate=True) does.",
        check="Offers it, and reads the header of the answer.",
    ),
    Belief(
        name="key_refused",
        claim="A wrong key is refused with a text that says so.",
        value=(1008, "API key not valid. Please pass a valid API key."),
        support="reported",
        evidence=("reports have 1007 and 1008 with this text",),
        local="Refuses `refused_keys`, and all but `accepted_keys`; refused_key_code= is the code.",
        check="Connects with a key that nobody has.",
    ),
    Belief(
        name="model_unknown",
        claim="A model that does not exist is refused with 1008 and a text that says so.",
        value=(1008, "is not found for API version"),
        support="reported",
        evidence=("adk-python #3964", "livekit #3714, #4421", "pipecat #4168"),
        local="The same; LocalGemini(models=) has further models.",
        check="Asks for a model that nobody has.",
    ),
    Belief(
        name="thinking_level_required",
        claim="gemini-3.8-live-extended-thinking is refused (1007) without a thinking level.",
        value=("LOW", "MEDIUM", "HIGH"),
        support="reported",
        evidence=(
            "vercel/ai #20787 (a budget instead of a level is taken, by this report)",
            "ProfSynapse/nexus #389 and cookbook #1379 (a budget is refused, too)",
        ),
        local="The same, with the generic text; models of LocalGemini(models=) have no rules.",
        check="Connects to that model without a level and, as a control, with LOW.",
    ),
    Belief(
        name="thinking_refused",
        claim="gemini-3.8-live is refused (1007) with any thinking configuration.",
        value=1007,
        support="documented",
        evidence=("ai.google.dev: omit it with gemini-3.8-live", "vercel/ai #20787"),
        local="The same; models named in LocalGemini(models=) have no rules.",
        check="Connects to gemini-3.8-live with a thinking level.",
    ),
    # -- the user's turn -----------------------------------------------------------------------
    Belief(
        name="text_is_answered",
        claim="A text in realtimeInput is answered aloud.",
        support="documented",
        evidence=("ai.google.dev/gemini-api/docs/live",),
        local="The reply policy decides; Parrot greets.",
        check="Sends a text.",
    ),
    Belief(
        name="speech_is_answered",
        claim="Speech is answered in a session whose setup has no realtimeInputConfig.",
        support="documented",
        evidence=(
            "automatic detection is the default",
            "one report has no reaction at all without the field (four sessions), so that this "
            "package always sends it",
        ),
        local="The same.",
        check="Speaks recorded speech, followed by silence until there is an answer.",
    ),
    Belief(
        name="silence_ends_turn",
        claim="The 2 s of silence that are sent after the last word end the user's turn.",
        value=500.0,
        support="reported",
        evidence=(
            "gemini-3.8-live: no answer after 0 and 0.8 s, one after 1.5 s (openclaw #152830, "
            "#152844 and a published probe)",
        ),
        local="500 ms end a turn; ActivityOptions(silence_duration_ms=) is another length.",
        check="Sends speech and 2 s of silence, then nothing; says how much more it takes.",
    ),
    Belief(
        name="stream_end_ends_turn",
        claim="audioStreamEnd does not end the user's turn with gemini-3.8.",
        value=("3.8",),
        support="reported",
        evidence=("openclaw #152830, #152844", "python-genai #1328 has the same of 2.5"),
        local="With 3.8 the same; with other models it does. ActivityOptions(ends_with_stream=).",
        check="Sends speech and audioStreamEnd right after the last word, then nothing.",
    ),
    Belief(
        name="voice_activity_unasked",
        claim="No voiceActivity comes unless the setup asks for it.",
        value=False,
        support="reported",
        evidence=("absent with 3.8 (python-genai #2981)", "two logs have it unasked"),
        local="Sends none; LocalGemini(quirks=['voice_activity']) does.",
        check="Looks through all sessions.",
    ),
    # -- the model's turn ----------------------------------------------------------------------
    Belief(
        name="output_rate",
        claim="Speech comes as s16le mono at 24 kHz, and its MIME type says so.",
        value=24000,
        support="documented",
        evidence=("ai.google.dev/gemini-api/docs/live",),
        local="The same; on_send can alter it.",
        check="Reads the MIME type of every part with audio.",
    ),
    Belief(
        name="chunk_size",
        claim="One message holds at most 0.5 s of audio.",
        value=40.0,
        support="reported",
        evidence=("logs have 10 ms first, then 40 to 340 ms",),
        local="40 ms; LocalGemini(chunk_ms=), and chunks= for an irregular pace.",
        check="Measures every message.",
    ),
    Belief(
        name="pace",
        claim="An answer as a whole is sent faster than it is played.",
        value=8.0,
        support="reported",
        evidence=("logs; slower at times in the middle (livekit agents #3604)",),
        local="Eight times as fast; LocalGemini(speed=), chunks= and Turn(stall=).",
        check="Asks for a long answer, and compares its length with the time that it took to come.",
    ),
    Belief(
        name="turn_complete_time",
        claim="turnComplete comes when the audio was sent, before it is played to its end.",
        value="generation",
        support="assumed",
        evidence=(
            "one client's log has it about 2 s after generationComplete",
            "two others have it held until the playback would be over",
        ),
        local="The same; LocalGemini(turn_complete_after='playback') holds it.",
        check="Asks for a long answer, and looks when its turnComplete comes.",
    ),
    Belief(
        name="turn_end",
        claim="A turn that is not cut ends with generationComplete, then turnComplete.",
        support="documented",
        evidence=(
            "ai.google.dev/api/live",
            "some never have their turnComplete (livekit agents #4979)",
        ),
        local="The same; Turn(turn_complete=False) lacks its turnComplete.",
        check="Looks at the end of every answer.",
    ),
    Belief(
        name="turn_complete_reason",
        claim="A turn that succeeds has no turnCompleteReason.",
        value="",
        support="assumed",
        evidence=("RESPONSE_REJECTED, 27 in a row, without audio (live-api-examples #40)",),
        local="Sends none; Turn(turn_complete_reason=) does.",
        check="Looks at the end of every answer that has audio.",
    ),
    Belief(
        name="text_parts",
        claim="Text parts in a session that speaks are not what is said.",
        support="reported",
        evidence=("mastra #17434", "livekit agents-js #2294"),
        local="Sends none; Turn(written=) and Turn(thought=) do.",
        check="Compares the text parts of each answer with its transcript.",
    ),
    Belief(
        name="input_transcript_first",
        claim="The transcript of the user comes before the first audio of the answer.",
        value="in_time",
        support="assumed",
        evidence=("documented as without any order", "logs have it after the first audio, too"),
        local="The same; LocalGemini(transcripts='late') sends it later.",
        check="Compares their order in the answer to speech.",
    ),
    Belief(
        name="output_transcript_in_time",
        claim="The transcript of an answer is complete when its turnComplete comes.",
        value="in_time",
        support="assumed",
        evidence=("documented as without any order", "logs have deltas behind turnComplete"),
        local="The same; LocalGemini(transcripts='late') sends the last word later.",
        check="Waits for deltas after turnComplete.",
    ),
    Belief(
        name="interaction_status_absent",
        claim="gemini-3.8-live sends no interactionStatus.",
        value=False,
        support="reported",
        evidence=("one client's log",),
        local="The same.",
        check="Looks through all sessions with that model.",
    ),
    Belief(
        name="interaction_status_place",
        claim="Extended thinking tells its interactionStatus in serverContent.",
        value="content",
        support="documented",
        evidence=("google-genai's types", "Google's thinking page has it at the top level, too"),
        local="The same; LocalGemini(interaction_status_in=) for the other place, or both.",
        check="Asks the model with extended thinking something short.",
    ),
    # -- interruption --------------------------------------------------------------------------
    Belief(
        name="interruption",
        claim="Speech into a turn is answered by interrupted, then turnComplete, and no "
        "generationComplete.",
        support="documented",
        evidence=("ai.google.dev/api/live",),
        local="The same.",
        check="Asks for a very long answer, and speaks as soon as it begins.",
    ),
    Belief(
        name="after_interruption",
        claim="No audio of a turn comes after its interrupted.",
        value=(),
        support="documented",
        evidence=(
            "ai.google.dev/api/live",
            "late audio, transcripts and turnComplete were seen (langwatch/scenario #760)",
        ),
        local="The same; LocalGemini(interruption=InterruptionOptions(late=...)) sends them.",
        check="Looks at what follows interrupted while the user still speaks.",
    ),
    Belief(
        name="interrupted_unprovoked",
        claim="No interrupted comes while the model says nothing.",
        value=False,
        support="reported",
        evidence=("one report has it after activityStart (langwatch/scenario #360)",),
        local="The same; InterruptionOptions(unprovoked=True) sends it.",
        check="Speaks into a session that is silent.",
    ),
    # -- resumption and the end of connections -------------------------------------------------
    Belief(
        name="handle_after_turn",
        claim="A new resumption handle comes after a turn of the model.",
        support="documented",
        evidence=("ai.google.dev/gemini-api/docs/live-session", "python-genai #2527"),
        local="The same.",
        check="Waits for one after an answer.",
    ),
    Belief(
        name="handles_in_turns",
        claim="No resumable handle comes while somebody speaks.",
        value=None,
        support="assumed",
        evidence=(
            "documented: not resumable during generation and function calls",
            "gemini-3.1-flash-live: one every 1.2 s, whatever happens (charivo)",
        ),
        local="The same; LocalGemini(resumption=ResumptionOptions(every_s=)) sends them.",
        check="Looks at what comes between the user's first word and the answer's last.",
    ),
    Belief(
        name="handles_unasked",
        claim="No handle comes unless the setup asks for it.",
        value=False,
        support="documented",
        evidence=("ai.google.dev/gemini-api/docs/live-session", "gemini-3.1 sends them (charivo)"),
        local="The same; ResumptionOptions(unasked=True) sends them.",
        check="Looks through the sessions that did not ask.",
    ),
    Belief(
        name="handle_holds_audio",
        claim="A handle that comes while the user speaks holds what was said before it.",
        value=True,
        support="assumed",
        evidence=("audio that was sent before a handle is not sent again after a loss",),
        local="The same; ResumptionOptions(holds_audio=False) forgets it.",
        check="Where handles come in mid-speech: leaves there, resumes, and sends only silence.",
    ),
    Belief(
        name="handle_needs_closed",
        claim="A handle is refused while the connection that issued it is open.",
        value=True,
        support="reported",
        evidence=("1011 until the old socket was closed (sip-to-ai #14)",),
        local="The same; ResumptionOptions(needs_closed=False) takes it.",
        check="Resumes beside the open connection, then after it was closed.",
    ),
    Belief(
        name="resumed_calls",
        claim="A resumed session takes the answers to functions that were called before it.",
        value=True,
        support="assumed",
        evidence=(
            "answers on another socket than the one that asked are reported as lost where "
            "the session was not resumed (dograh #281)",
        ),
        local="The same; ResumptionOptions(keeps_calls=False) has never called them.",
        check="By hand: cut the connection while a function runs, answer on the resumed one.",
        automatic=False,
    ),
    Belief(
        name="json_schema_ignored",
        claim="Live ignores parameters_json_schema of a function, and calls it without arguments.",
        value=True,
        support="reported",
        evidence=("python-genai #1147", "livekit agents #2940, #3135 and, in April 2026, #5560"),
        local="The same: functions without `parameters` are called with empty arguments.",
        check="By hand: declare a function by parameters_json_schema, and have it called.",
        automatic=False,
    ),
    Belief(
        name="empty_results",
        claim="gemini-3.8-live calls a function again whose result says nothing.",
        value=2,
        support="documented",
        evidence=("two to five times, by the migration page of Google's Agent Platform",),
        local="Twice; LocalGemini(repeats_empty_calls=) sets how often, 0 not at all.",
        check="By hand: answer a call with an empty object, and count the calls.",
        automatic=False,
    ),
    Belief(
        name="handle_refused",
        claim="A handle that is not known is refused in words that are known.",
        value=(
            (1008, "BidiGenerateContent session not found"),
            (1007, "Invalid session handle"),
            (1008, "Requested entity was not found."),
        ),
        support="reported",
        evidence=("logs",),
        local="The first of them; ResumptionOptions(refusal=) for others.",
        check="Resumes with a handle that nobody has issued.",
    ),
    Belief(
        name="early_go_away",
        claim="No goAway in the first minute leaves less than a minute.",
        value=None,
        support="reported",
        evidence=(
            "documented: about 60 s before the end, after about ten minutes",
            "300 s were announced one second into a session (livekit agents-js #2507)",
        ),
        local="Announces nothing; LocalGemini(announced_end_s=) does, and LiveSession.go_away().",
        check="Looks through all sessions, each of which is shorter than a minute.",
    ),
    Belief(
        name="connection_end",
        claim="A connection ends after about ten minutes; goAway announces it about 60 s before.",
        support="documented",
        evidence=("ai.google.dev/gemini-api/docs/live-session", "50 s (sokuji #179)"),
        local="Never by itself; LiveSession.go_away() announces an end and closes with 1008.",
        check="Run `getstream-gemini join CALL --events-json` for 12 minutes, and look for "
        "`disconnected` and `resumed`; report their times.",
        automatic=False,
    ),
    Belief(
        name="token_limits",
        claim="An ephemeral token ends its sessions with 1011 when it expires; then, and when it "
        "is spent, it opens no new one (1011). Resuming takes no use of it.",
        support="reported",
        evidence=("three reports with the texts that the local server sends",),
        local="LocalGemini(tokens=[EphemeralToken(...)]).",
        check="Create a token with `uses=1` and a short `expire_time` by google-genai's "
        "`auth_tokens.create`, pass it as api_key to `join`, and note code and text of the end.",
        automatic=False,
    ),
    Belief(
        name="quota_text",
        claim="A quota that is used up, or too many sessions, is 1011 with 'quota' in the text.",
        support="reported",
        evidence=("python-genai #874", "google_search with a free key reads the same (one report)"),
        local="QUOTA_EXCEEDED for fail_next and setup_fault.",
        check="Open sessions until one is refused, and note code and text. It costs quota.",
        automatic=False,
    ),
    Belief(
        name="may_stay_silent",
        claim="gemini-3.8 may choose not to answer speech, and says nothing about it.",
        support="documented",
        evidence=("proactive audio is always on with 3.8",),
        local="An empty entry of Script stays silent.",
        check="Talk beside the microphone, not to the assistant, and watch `join --events-json`.",
        automatic=False,
    ),
    # -- the wire ------------------------------------------------------------------------------
    Belief(
        name="binary_frames",
        claim="Messages are JSON in binary frames.",
        value=True,
        support="reported",
        evidence=("google-genai reads recv(decode=False) for it",),
        local="The same; LocalGemini(quirks=['text_frames']) sends text frames.",
        check="Looks at every frame.",
    ),
    Belief(
        name="empty_messages",
        claim="No empty messages come.",
        value=False,
        support="assumed",
        evidence=("two logs have {} and an empty serverContent",),
        local="Sends none; LocalGemini(quirks=['empty_messages']) does.",
        check="Looks through all sessions.",
    ),
    Belief(
        name="known_fields",
        claim="Messages have no fields but those of google-genai 3.6.",
        support="assumed",
        evidence=("the types of google-genai 3.6",),
        local="The same; LocalGemini(quirks=['unknown_fields']) sends others.",
        check="Compares the names of all fields of messages and of serverContent.",
    ),
    Belief(
        name="pong_delay",
        claim="A ping is answered within 30 s.",
        value=0.0,
        support="reported",
        evidence=("8 to 30 s (sip-to-ai #14)", "keepalive closes (python-genai #2935)"),
        local="At once; LocalGemini(pong_delay_s=), and LiveSession.delay_pongs().",
        check="Sends a ping at the start of a long answer, and says when its pong came.",
    ),
    # -- Stream --------------------------------------------------------------------------------
    Belief(
        name="stream_dtx",
        service="Stream",
        claim="The settings of a call turn Opus DTX and RED on for web clients.",
        value=True,
        support="reported",
        evidence=("two published dumps of call settings",),
        local="On in the settings; the Python SDK sends neither, Person(sends='as_browser') DTX.",
        check="Creates a call, and reads its settings.",
    ),
    Belief(
        name="stream_jitter",
        service="Stream",
        claim="Nine of ten audio frames reach another participant within 60 ms of their time.",
        support="assumed",
        evidence=("the largest delay of the jitter buffer is 120 ms",),
        local="Forwards at once; LocalStream.impair(user, Network(jitter_ms=)).",
        check="Two people in one call: one speaks recorded speech, the other notes arrivals.",
    ),
    Belief(
        name="stream_mute",
        service="Stream",
        claim="Nothing is received from somebody who is muted.",
        support="reported",
        evidence=("stream-video-js stops the tracks of its microphone on mute",),
        local="The same.",
        check="The one who speaks mutes; the other notes arrivals.",
    ),
    Belief(
        name="stream_browser",
        service="Stream",
        claim="What a browser sends (DTX gaps, RED, timestamps over a mute) arrives as Person("
        "sends='as_browser') has it.",
        support="assumed",
        evidence=("the real encoder's DTX, and RFC 2198",),
        local="Person(sends='as_browser').",
        check="Join a call of your app in a browser beside `join --events-json`, mute and unmute "
        "in mid-word, and attach the last line (`stats`, with `tracks`).",
        automatic=False,
    ),
)
"""Every belief, those about Gemini Live first."""

_BY_NAME = {belief.name: belief for belief in BELIEFS}


def believed(name: str) -> Any:
    """Return the value of a belief, for the default of a local server.

    Raises:
        KeyError: There is no such belief.
    """
    return _BY_NAME[name].value
