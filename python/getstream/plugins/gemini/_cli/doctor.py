"""Print what is installed, and check whether the services are as believed."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from .._beliefs import BELIEFS
from ..audio import Resampler
from ..errors import ConfigError
from .checks.findings import Finding, complete
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

_MARKS = {"holds": "ok", "fails": "NO", "unclear": "?", "not checked": "-", "by hand": "hand"}


@dataclass(frozen=True)
class DoctorOptions:
    """Hold the command line of `doctor`."""

    live: bool = False
    yes: bool = False
    model: str | None = None
    out: Path = Path("doctor-report.json")


def run_doctor(
    options: DoctorOptions,
    *,
    patience: Patience | None = None,
    speed: float = 1.0,
    at_once: int = 2,
) -> int:
    """Print what is installed; with `live`, check the beliefs and write the report.

    Args:
        options: The command line.
        patience: How long to wait for the service.
        speed: How much faster than real time the service is spoken to: a local one may be.
        at_once: Connections to Gemini Live at the same time.

    Returns:
        0, or `DEVIATES` if some belief does not hold.

    Raises:
        ConfigError: A key is missing, nobody agreed to the cost, or the report cannot be written.
        SessionError: Gemini Live cannot be reached, or refused the key or the model.
    """
    _print_installed()
    if not options.live:
        print("\n`doctor --live` checks what this package believes of the services.")
        return 0
    service = _service(options, os.environ, patience or Patience(), speed)
    stream = all(os.environ.get(name, "").strip() for name in STREAM_VARIABLES)
    _ask(options, stream=stream)
    with _Report(options.out) as report:
        findings = asyncio.run(_check(service, at_once, stream=stream))
        report.write(_document(service, findings), _secrets(service))
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
    keys = (environment.get(name, "").strip() for name in KEY_VARIABLES)
    key = next(filter(None, keys), "")
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
    model = options.model or environment.get(MODEL_VARIABLE, "").strip() or DEFAULT_MODEL
    service = Service(base_url, key, model.rpartition("/")[2], speed=speed, patience=patience)
    _ = service.url  # refused now, if it is no address
    return service


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
