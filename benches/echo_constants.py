#!/usr/bin/env python3
"""Measure the effect of each constant of the echo suppressor, one constant at a time.

    python benches/echo_constants.py [--only NAME ...] [--folds N] [--json FILE]

Copies `rust/` to a temporary folder, and for each constant of `rust/core/src/echo` builds the core
with a smaller and with a larger value and runs `rust/core/examples/echo_figures.rs`. Prints a
Markdown table; the checkout is not changed. Needs cargo; takes half an hour for all constants.

How a constant is varied, by its kind:

* `scale`: half and twice the value (levels in dB, powers, times, counts).
* `memory`: a smoothing factor per step, for half and twice the memory: `x ** 2`, `x ** 0.5`.
* `share`: a part of one, or a correlation: `x / 2`, and halfway between `x` and 1.
* `given`: two values that the constant can take.

Figures, each the mean over the folds of `echo_figures.rs`:

* `found_ms`: from the first audible frame of an echo to the end of the frame with a known delay.
  `not_found_pct`: runs that end without the right delay.
* `steady_`, `level_`, `moved_`, `suppressor_`, `timing_passed_pct`: audible frames that pass after
  an echo was found: one that stays; one that changes by 10 dB; one whose delay changes; one through
  a client's suppressor; one with disturbed timing (clock, loss, pause, jitter buffer, hand-over).
* `person_0_6_db_lost_pct`, `person_12_20_db_lost_pct`: a person's loud frames that are suppressed,
  who speaks over an echo by so much. `person_late_ms`: their speech start less that of the person
  alone.
* `after_echo_lost_pct`: loud frames lost of people who speak after their echo has gone.
* `false_found_pct`, `false_lost_pct`: runs of people without an echo in which one is found, and the
  share of their loud frames that is suppressed.
* `loop_starts_per_min`: speech starts per minute of an assistant that pauses or ducks at each.
* `background_db`: difference of the comfort noise that replaces an echo from the noise around it.
* `cost_us`: cost of the suppressor and its reference for 20 ms of a stream. `muted_cost_us`: cost
  of stream, detector, suppressor and reference while the microphone gives digital silence.

A figure has moved if its mean difference from the unchanged suppressor, fold by fold on the same
sound, is at least twice its standard error, and at least the step of `STEPS`, below which nobody
would notice.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

# The figures of each fold, or why there are none.
Measured = list[dict[str, float]] | str

ROOT = Path(__file__).resolve().parent.parent
VOICES = ROOT / "python/getstream/plugins/gemini/data"
SOURCE = "rust/core/src/echo"
# These follow from others.
DERIVED = {"MIN_TOTAL_POWER", "PARTS"}

# The least difference of each figure that counts, and its decimals in the table.
STEPS = {
    "found_ms": (10.0, 0),
    "not_found_pct": (1.0, 1),
    "steady_passed_pct": (0.2, 1),
    "level_passed_pct": (0.5, 1),
    "moved_passed_pct": (0.5, 1),
    "suppressor_passed_pct": (0.5, 1),
    "timing_passed_pct": (0.3, 1),
    "person_0_6_db_lost_pct": (1.0, 1),
    "person_12_20_db_lost_pct": (0.5, 1),
    "person_late_ms": (20.0, 0),
    "after_echo_lost_pct": (0.5, 1),
    "false_found_pct": (0.8, 1),
    "false_lost_pct": (0.05, 2),
    "loop_starts_per_min": (0.5, 1),
    "background_db": (0.3, 1),
    "cost_us": (0.5, 1),
    "muted_cost_us": (1.0, 1),
}


@dataclass(frozen=True)
class Constant:
    file: str
    name: str
    kind: str
    meaning: str
    given: tuple[str, str] = ("", "")


# For each file: the name of a constant; its kind, or two values of the kind `given`; its meaning.
CONSTANTS = """
mod.rs
    HOPS_PER_SECOND; scale; hops (spectra) per second
    MAX_TIME_S; scale; largest accepted time, in seconds
suppressor.rs
    FADE_MS; scale; fade at both ends of a suppressed stretch
    HISTORY_HOPS; scale; near-end hops from which the path model at a new delay learns
    RINGING_HOPS; scale; hops after the last sound in which it may ring
    EXCESS_DB; scale; excess from which a hop is more than echo
    SPEECH_DB; scale; smoothed excess from which a person speaks
    EXCESS_SMOOTHING; memory; memory of the smoothed excess
    SPEECH_HOPS; scale; hangover after a hop with speech
    STILL_ECHO; share; correlation from which excess may still be echo
    STILL_ECHO_HOPS; scale; evidence that this needs
    SURE_ECHO; share; correlation that overrules an excess at first
    MIN_NOISE_POWER; scale; power of the noise floor below which silence is written
    PAUSE_S; scale; lateness, in seconds, that starts the clock anew
path_model.rs
    EARLY_WINDOW_HOPS; scale; hops that an echo may come early
    LATE_WINDOW_HOPS; scale; hops that an echo may come late
    EARLY_WINDOW_ONSET_HOPS; scale; the same at the beginning of a run
    ONSET_HOPS; scale; length of the beginning of a run
    PAUSE_HOPS; scale; silence that ends a run
    RINGING; memory; power of an echo that is left after a hop
    LEAKAGE; scale; part of all power that every band may have
    ATTACK; scale; rate at which an edge rises
    RELEASE; scale; rate at which an edge falls
    FAR_BELOW_DB; scale; distance from which an edge is far too high
    BELOW_HOPS; scale; hops of that until an edge falls fast
    RELEASE_FAST; scale; rate of the fast fall
    RAISE_FITTING; scale; rate of a rise in a hop shaped like the echo
    RAISE; scale; rate of a rise in any other hop
    RAISE_NEW; scale; rate that is added while a path model is new
    RAISE_NEW_SMOOTHING; memory; how long a path model is new
    FITTING_DB; scale; deviation within which a shape fits
    RANGE_DB; scale; range below the loudest that teaches a path model and has a shape
    LOUDEST_DECAY_DB; scale; fall of the loudest in a hop
    MARGIN_DB; scale; excess over the echo that is allowed
    UNLEARNED_MARGIN_DB; scale; the same, additionally, in a band not yet learned
    LEARNED_HOPS; scale; hops until a band is learned
    NOISE_DB; scale; scatter of the background above its floor
    AUDIBLE_BANDS; scale; bands that an audible echo has
    LEVEL_SMOOTHING; memory; memory of the reported echo level
delay_estimator.rs
    STEP; 1 4; hops of a step of the delay estimator
    CORRELATION_SMOOTHING; memory; memory of the delay estimator
    BLOCK; scale; delays that are worked on together
    PEAK_HOPS; 2 10; half width of a peak, in hops
    PEAK_MARGIN; scale; lead over delays outside of the peak
    CONFIRM_STEPS; scale; steps in a row that a delay must lead
    MIN_CORRELATION; 0.8 0.95; least correlation with little evidence
    MIN_CORRELATION_HOPS; scale; evidence where the threshold begins to fall
    MIN_CORRELATION_SLOPE; scale; fall of the threshold with each hop of evidence
    LEAST_MIN_CORRELATION; 0.45 0.8; least correlation with much evidence
render.rs
    MODULATION_MEAN_HOPS; scale; time constant of the mean that a modulation is measured against
    COMMON_MODULATION; share; part of the common modulation that is subtracted
    SILENT_POWER; scale; power below which a band is silent
    NO_ROW; scale; row number that stands for none
    AHEAD_ROWS; scale; rows that a reference may be ahead
noise_floor.rs
    MIN_BAND_POWER; scale; least noise floor of a band
    SMOOTHING_HOPS; 2 10; hops over which a level is smoothed
    RISE_PER_HOP; memory; rise of the noise floor in a hop
bands.rs
    BANDS; scale; bands of the analysis
    LOWEST_HZ; scale; lower edge of the lowest band, in Hz
    HIGHEST_HZ; 2_000.0 7_000.0; upper edge of the highest band, in Hz
    MIN_RATE_HZ; scale; least rate of the analysis, in Hz
    SECTIONS; 1 3; resonances of a band's filter
    PASS_SAMPLES; scale; samples that are filtered in one pass
    NEGLIGIBLE; scale; magnitude that becomes zero, in front of subnormal numbers
reference.rs
    RUN_GAP_S; scale; lateness, in seconds, that begins a new run
"""


def constants() -> list[Constant]:
    """Return every listed constant; exit if the list differs from the source."""
    found, file = [], ""
    for line in CONSTANTS.strip().splitlines():
        if not line.startswith(" "):
            file = line
            continue
        name, kind, meaning = line.strip().split("; ")
        low, _, high = kind.partition(" ")
        found.append(Constant(file, name, "given" if high else kind, meaning, (low, high)))
    listed = {(constant.file, constant.name) for constant in found}
    declared = set()
    for path in (ROOT / SOURCE).glob("*.rs"):
        if path.name != "tests.rs":
            text = path.read_text()
            names = re.findall(r"^(?: *pub\S* )?const (\w+): (?!Self|Bands)", text, re.MULTILINE)
            declared |= {(path.name, name) for name in names if name not in DERIVED}
    if listed != declared:
        sys.exit(f"listed or declared, but not both: {sorted(listed ^ declared)}")
    return found


def declaration(name: str) -> re.Pattern[str]:
    return re.compile(rf"(\bconst {name}: (\w+) = )([^;]+)(;)")


def variants(constant: Constant, kind: str, value: str) -> tuple[str, str]:
    """Return the smaller and the larger value, as Rust."""
    if constant.kind == "given":
        return constant.given
    if not kind.startswith("f"):
        plain = value.replace("_", "")
        if plain == "i64::MIN / 4":
            return "i64::MIN / 8", "i64::MIN / 2"
        number = int(plain)
        return str(max(number // 2, 1)), str(number * 2)
    x = float(value.replace("_", ""))
    pair = {
        "scale": (x / 2, x * 2),
        "memory": (x**2, x**0.5),
        "share": (x / 2, (1 + x) / 2),
    }[constant.kind]
    low, high = (f"{y:.9g}" if y % 1 else f"{y:.1f}" for y in pair)
    return low, high


class Copy:
    """A copy of the core that is built and measured with changed constants."""

    def __init__(self, folder: Path, folds: int) -> None:
        self.folder, self.folds = folder, folds
        for name in ("Cargo.toml", "Cargo.lock"):
            shutil.copy(ROOT / name, folder)
        shutil.copytree(ROOT / "rust", folder / "rust")

    def measure(self, constant: Constant | None = None, value: str = "") -> Measured:
        """Return the figures of each fold, or why there are none."""
        if constant is None:
            return self._run()
        path = self.folder / SOURCE / constant.file
        text = path.read_text()
        path.write_text(declaration(constant.name).sub(rf"\g<1>{value}\g<4>", text, count=1))
        try:
            return self._run()
        finally:
            path.write_text(text)

    def _run(self) -> Measured:
        # Quick to build. The figures do not depend on it: Rust never reorders float operations.
        quick = {"INCREMENTAL": "true", "LTO": "off", "CODEGEN_UNITS": "8", "STRIP": "none"}
        environment = os.environ | {f"CARGO_PROFILE_RELEASE_{k}": v for k, v in quick.items()}
        build = ["cargo", "build", "--release", "--locked", "-q", "-p", "voice-audio"]
        built = subprocess.run(
            [*build, "--example", "echo_figures"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
        )
        if built.returncode:
            return "does not build"
        program = self.folder / "target/release/examples/echo_figures"
        try:
            ran = subprocess.run(
                [program, VOICES, str(self.folds)], capture_output=True, text=True, timeout=120
            )
        except subprocess.TimeoutExpired:
            return "does not end"
        if ran.returncode:
            return "panics"
        return [json.loads(line) for line in ran.stdout.splitlines()]


def mean(folds: list[dict[str, float]], figure: str) -> float:
    return statistics.fmean(fold[figure] for fold in folds if figure in fold)


def moved(before: list[dict[str, float]], after: list[dict[str, float]], figure: str) -> bool:
    """Tell whether a figure differs by a noticeable step and by twice its standard error."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if figure in a and figure in b]
    if not pairs:
        return True
    differences = [b[figure] - a[figure] for a, b in pairs]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return abs(statistics.fmean(differences)) >= max(STEPS[figure][0], 2 * error)


def effects(before: list[dict[str, float]], after: Measured) -> str:
    """Return the figures that moved, as text."""
    if isinstance(after, str):
        return after
    changed = []
    for figure, (_, decimals) in STEPS.items():
        if moved(before, after, figure):
            measured = any(figure in fold for fold in after)
            now = f"{mean(after, figure):.{decimals}f}" if measured else "none"
            changed.append(f"{figure} {now}")
    return ", ".join(changed) or "-"


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="*", metavar="NAME", help="of these constants, or file:NAME"
    )
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write every figure of every fold here, too")
    arguments = parser.parse_args()
    record: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder), arguments.folds)
        before = copy.measure()
        if isinstance(before, str):
            sys.exit(f"the unchanged suppressor {before}")
        record["unchanged"] = before
        print("| figure | unchanged suppressor | counts from |\n|---|---|---|")
        for figure, (step, decimals) in STEPS.items():
            print(f"| {figure} | {mean(before, figure):.{decimals}f} | {step} |")
        print("\n| constant | file | value | meaning | smaller: what moves | larger: what moves |")
        print("|---|---|---|---|---|---|", flush=True)
        for constant in constants():
            names = (constant.name, f"{constant.file}:{constant.name}")
            if arguments.only and not set(names) & set(arguments.only):
                continue
            text = (ROOT / SOURCE / constant.file).read_text()
            found = declaration(constant.name).search(text)
            if found is None:
                sys.exit(f"{constant.file} has no constant {constant.name}")
            kind, value = found[2], found[3]
            cells = []
            for changed in variants(constant, kind, value):
                after = copy.measure(constant, changed)
                record[f"{constant.file}:{constant.name}={changed}"] = after
                cells.append(f"{changed}: {effects(before, after)}")
            row = [f"`{constant.name}`", constant.file, value, constant.meaning, *cells]
            print(f"| {' | '.join(row)} |", flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
