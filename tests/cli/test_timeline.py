"""Tests of the chart of a conversation, read back from the SVG."""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
import wave
from importlib import resources
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from getstream.plugins.gemini._timeline import Latency, Mark, Span, Timeline, Track, render_svg
from getstream.plugins.gemini._timeline.layout import split_lines
from getstream.plugins.gemini._timeline.model import SIDES
from getstream.plugins.gemini._timeline.style import PALETTE
from getstream.plugins.gemini._timeline.text import num, text_width, wrap
from numpy.typing import NDArray

SVG = "{http://www.w3.org/2000/svg}"
LEFT, RIGHT = 108.0, 1176.0  # the plot of a picture of 1200 pixels
RATE = 16_000
SILENCE = np.zeros(0, np.int16)


def tone(seconds: float, peak: int = 8000, rate: int = RATE) -> NDArray[np.int16]:
    phase = np.arange(int(seconds * rate)) * (2 * math.pi * 440 / rate)
    samples: NDArray[np.int16] = (np.sin(phase) * peak).astype(np.int16)
    return samples


def track(samples: NDArray[np.int16], rate: int = RATE, name: str = "") -> Track:
    return Track(samples, rate, name)


def timeline(seconds: float = 10.0, **more: Any) -> Timeline:
    return Timeline(track(tone(seconds)), track(tone(seconds)), **more)


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def words(root: ElementTree.Element) -> list[str]:
    """Return the visible texts of the chart, without tooltips."""
    return ["".join(_without_titles(text)) for text in root.iter(f"{SVG}text")]


def _without_titles(element: ElementTree.Element) -> list[str]:
    parts = [element.text or ""]
    for child in element:
        if child.tag != f"{SVG}title":
            parts.extend(_without_titles(child))
        parts.append(child.tail or "")
    return parts


def struck(root: ElementTree.Element) -> list[str]:
    """Return the texts that are struck out, line by line."""
    spans = root.iter(f"{SVG}tspan")
    return [each.text or "" for each in spans if each.get("text-decoration") == "line-through"]


def tooltips(root: ElementTree.Element) -> list[str]:
    return [title.text or "" for title in root.iter(f"{SVG}title")]


# --- Waveforms -----------------------------------------------------------------------------------


def waves(root: ElementTree.Element, who: str, kind: str = "peak") -> list[dict[int, Any]]:
    """Return ``{column: (top, bottom)}`` of each line of the chart, in pixels from the centre."""
    return [
        columns_of(path)
        for path in root.iter(f"{SVG}path")
        if path.get("data-track") == who and path.get("data-wave") == kind
    ]


def columns_of(path: ElementTree.Element) -> dict[int, tuple[float, float]]:
    transform = re.fullmatch(
        r"translate\(\S+ \S+\) scale\((\d+) (\S+)\)", path.get("transform") or ""
    )
    assert transform
    unit = float(transform[2])
    tops: dict[int, float] = {}
    bottoms: dict[int, float] = {}
    x = y = 0
    for command, first, second in re.findall(r"([Mhvz])(-?\d+)? ?(-?\d+)?", path.get("d") or ""):
        if command == "M":
            x, y = int(first), int(second)
        elif command == "v":
            y += int(first)
        elif command == "h":
            run = int(first)
            edge = tops if run > 0 else bottoms  # there along the top, back along the bottom
            for column in range(min(x, x + run), max(x, x + run)):
                assert column not in edge, "an outline that runs over itself"
                edge[column] = y * unit
            x += run
    assert tops.keys() == bottoms.keys()
    return {column: (tops[column], bottoms[column]) for column in tops}


def full_scale(root: ElementTree.Element) -> float:
    label = next(word for word in words(root) if word.endswith(" dBFS"))
    return 10 ** (float(label.removesuffix(" dBFS").replace("−", "-")) / 20)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_each_pixel_column_shows_the_extremes_of_its_samples(rate: int) -> None:
    rng = np.random.default_rng(7)
    loudness = np.repeat(rng.choice([0, 0, 200, 3000, 20_000], 50), rate // 10)
    samples = (rng.uniform(-1, 1, len(loudness)) * loudness).astype(np.int16)
    root = parse(render_svg(Timeline(track(samples, rate), track(SILENCE, rate))))
    (drawn,) = waves(root, "person")

    pixels = 46 / full_scale(root)
    seconds = len(samples) / rate
    of_column: dict[int, list[int]] = {}
    for index, value in enumerate(samples.tolist()):
        column = math.floor(index / rate / seconds * (RIGHT - LEFT) + 1e-9)
        of_column.setdefault(column, []).append(value)
    for column, values in of_column.items():
        top, bottom = drawn.get(column, (0.0, 0.0))
        high, low = (-edge(values) / 32768 * pixels for edge in (max, min))
        # Half a pixel is the least thickness, and the step.
        step = 0.251 if low - high > 0.5 else 0.501
        assert (top, bottom) == pytest.approx((high, low), abs=step), column
    assert drawn.keys() <= of_column.keys()


def test_a_click_is_drawn_where_it_sounds() -> None:
    samples = np.zeros(10 * RATE, np.int16)
    samples[int(2.5 * RATE)] = 30_000
    root = parse(render_svg(Timeline(track(samples), track(SILENCE))))
    assert list(waves(root, "person")[0]) == [int(2.5 / 10 * (RIGHT - LEFT))]
    assert waves(root, "assistant") == []


def test_a_click_of_a_long_call_is_drawn_in_its_line() -> None:
    samples = np.zeros(120 * RATE, np.int16)
    samples[int(93.25 * RATE)] = -30_000
    root = parse(render_svg(Timeline(track(SILENCE), track(samples))))
    assert words(root).count("Person") == 4  # lines of 30 s
    (drawn,) = waves(root, "assistant")
    ((column, (top, bottom)),) = drawn.items()
    assert column == int(3.25 / 30 * (RIGHT - LEFT))
    assert (top, bottom) == (0, pytest.approx(30 * 30_000 / 32768 / full_scale(root), abs=0.5))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_rms_stays_inside_the_peaks(sign: int) -> None:
    samples = np.where(np.arange(5 * RATE) % 100 < 95, -9000, 1000) * sign  # asymmetric
    samples = samples.astype(np.int16)
    root = parse(render_svg(Timeline(track(samples), track(SILENCE))))
    (peak,), (rms,) = waves(root, "person"), waves(root, "person", "rms")
    assert rms.keys() == peak.keys()
    assert all(peak[c][0] <= rms[c][0] and rms[c][1] <= peak[c][1] for c in rms)
    expected = math.sqrt(0.95 * 9000**2 + 0.05 * 1000**2) / 32768 * 46 / full_scale(root)
    assert max(-rms[500][0], rms[500][1]) == pytest.approx(expected, abs=0.5)


def test_more_columns_than_samples_hold_each_sample() -> None:
    samples = np.array([10_000, -10_000, 10_000, -10_000], np.int16)
    root = parse(render_svg(Timeline(track(samples), track(SILENCE))))
    (drawn,) = waves(root, "person")
    width = int(RIGHT - LEFT)
    assert sorted(drawn) == list(range(width))
    signs = [-1 if drawn[c][0] < 0 else 1 for c in range(width)]
    assert [len(list(run)) for _, run in itertools.groupby(signs)] == [width // 4] * 4


def test_both_waveforms_share_a_scale_that_holds_the_louder_peak() -> None:
    quiet, loud = tone(5, 1000), tone(5, 11_000)  # 11000 / 32768 is -9.5 dBFS
    root = parse(render_svg(Timeline(track(quiet), track(loud))))
    assert [word for word in words(root) if "dBFS" in word] == ["−9 dBFS", "−9 dBFS"]
    (person,), (assistant,) = waves(root, "person"), waves(root, "assistant")
    ratio = assistant[500][1] / person[500][1]
    assert ratio == pytest.approx(11, rel=0.12)
    assert max(bottom for _, bottom in assistant.values()) <= 46


def test_the_most_negative_sample_is_full_scale() -> None:
    root = parse(render_svg(Timeline(track(np.full(RATE, -32768, np.int16)), track(SILENCE))))
    assert full_scale(root) == 1
    assert waves(root, "person")[0][0] == (45.5, 46)  # a steady level is half a pixel thick


def test_audio_ends_where_it_ends() -> None:
    root = parse(render_svg(Timeline(track(tone(4)), track(tone(10)))))
    end = int(4 / 10 * (RIGHT - LEFT))
    assert max(waves(root, "person")[0]) == pytest.approx(end, abs=1)
    assert max(waves(root, "assistant")[0]) == int(RIGHT - LEFT) - 1


# --- Events --------------------------------------------------------------------------------------


def x_of(seconds: float, length: float = 10.0) -> float:
    return LEFT + seconds / length * (RIGHT - LEFT)


def boxes(root: ElementTree.Element) -> list[tuple[str, float, float, float, float]]:
    """Return ``(text, left, top, right, bottom)`` of each text, in the widest font."""
    found = []
    for element, text in zip(root.iter(f"{SVG}text"), words(root), strict=True):
        size = float(element.get("font-size") or root.get("font-size") or 0)
        width = text_width(text, size * (1.12 if element.get("font-weight") else 1))
        x, y = float(element.get("x") or 0), float(element.get("y") or 0)
        left = x - width * {"middle": 0.5, "end": 1.0}.get(element.get("text-anchor") or "", 0.0)
        found.append((text, left, y - 0.72 * size, left + width, y + 0.2 * size))
    return found


def assert_legible(root: ElementTree.Element) -> None:
    """Check that texts do not overlap or leave the chart, and that no leader line crosses one."""
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    texts = boxes(root)
    for text, left, top, right, bottom in texts:
        assert min(left, top, width + 0.5 - right, height - bottom) >= 0, f"{text!r} sticks out"
    for a, b in itertools.combinations(texts, 2):
        apart = a[3] <= b[1] + 0.5 or b[3] <= a[1] + 0.5 or a[4] <= b[2] + 0.5 or b[4] <= a[2] + 0.5
        assert apart, f"{a[0]!r} overlaps {b[0]!r}"
    for path in root.iter(f"{SVG}path"):
        if path.get("stroke-width") != "1.25":
            continue
        for x, y0, y1 in re.findall(r"M(\S+) (\S+?)V([^M]+)", path.get("d") or ""):
            low, high = sorted((float(y0), float(y1)))
            for text, left, top, right, bottom in texts:
                crossed = left < float(x) < right and top < high and low < bottom
                assert not crossed, f"a leader line crosses {text!r}"


def busy(seed: int, seconds: float) -> Timeline:
    """Make a crowded conversation: overlapping turns, bursts of events, long and short texts."""
    rng = np.random.default_rng(seed)
    text = "He was not an ill disposed young man, unless to be rather cold hearted is ill disposed."
    spans, marks, latencies = [], [], []
    for start in rng.uniform(0, seconds, int(seconds / 1.5)):
        who = SIDES[int(rng.integers(2))]
        end = start + rng.exponential(2.0)
        label = text[: int(rng.integers(len(text)))] if rng.random() < 0.8 else "四つ葉" * 9
        spans.append(Span(who, start, end, label, str(rng.choice(["", "interrupted", "resumed"]))))
        if rng.random() < 0.6:
            latencies.append(Latency(end, end + rng.uniform(0, 1.2), "to first word"))
    kinds = ("duck", "pause", "interrupted", "resume", "underrun", "go away")
    for start in rng.uniform(0, seconds, int(seconds / 2)):
        for k in range(int(rng.integers(1, 6))):
            who = SIDES[int(rng.random() < 0.8)]
            label = "a detail" if rng.random() < 0.3 else ""
            marks.append(Mark(start + 0.07 * k, str(rng.choice(kinds)), label, who))
    return timeline(seconds, spans=spans, marks=marks, latencies=latencies, gain=[(0, 0)])


@pytest.mark.parametrize(("seed", "seconds"), [*((s, 20.0) for s in range(12)), (12, 130.0)])
@pytest.mark.parametrize("width", [480, 1200])
def test_no_text_overlaps_another(seed: int, seconds: float, width: int) -> None:
    root = parse(render_svg(busy(seed, seconds), width=width))
    assert len(boxes(root)) > 40
    assert_legible(root)


def test_the_width_of_text_is_not_underestimated() -> None:
    # Measured: DejaVu Sans, in em; Arial and Segoe UI are narrower, CJK is 1 em in every font.
    measured = {"Hello everyone. How can I help you today?": 21.41, "WWW": 2.966, "−15 dB": 3.749}
    for text, width in measured.items():
        assert width <= text_width(text, 1.0) + 0.005 <= width * 1.05, text
    assert text_width("漢字", 10) >= 20
    assert text_width("Zoë", 10) == text_width("Zoe", 10)


def test_marks_and_latencies_stand_at_their_times() -> None:
    drawn = timeline(
        marks=[Mark(2.5, "pause"), Mark(7.5, "resume", "nothing lost")],
        latencies=[Latency(4.0, 4.8, "to first word")],
    )
    root = parse(render_svg(drawn))
    data = " ".join(path.get("d") or "" for path in root.iter(f"{SVG}path"))
    for seconds in (2.5, 7.5):
        assert f"M{num(x_of(seconds))} " in data
    x0, x1 = num(x_of(4.0)), num(x_of(4.8))
    assert re.search(rf"M{x0} (\S+)v8M{x1} \1v8", data)
    assert {"pause", "resume · nothing lost", "800 ms to first word"} <= set(words(root))
    assert "to first word 800 ms" in words(root)[1]


def test_what_happens_between_two_lines_is_drawn_once() -> None:
    root = parse(render_svg(timeline(60, marks=[Mark(30, "pause")], latencies=[Latency(29.5, 30)])))
    assert words(root).count("pause") == 1
    assert sum("500 ms" in word for word in words(root)[2:]) == 1


def test_turns_that_overlap_have_rows_of_their_own() -> None:
    spans = [Span("person", 1, 6, "Ada speaks"), Span("person", 2, 4, "Bob speaks")]
    spans.append(Span("person", 7, 8, "Ada again"))
    top = {box[0]: box[2] for box in boxes(parse(render_svg(timeline(spans=spans))))}
    assert top["Ada speaks"] == top["Ada again"] > top["Bob speaks"] + 15


def test_events_of_one_kind_at_one_place_share_a_label() -> None:
    marks = [Mark(5 + k * 0.02, "underrun") for k in range(4)]
    root = parse(render_svg(timeline(marks=[*marks, Mark(8.0, "underrun")])))
    assert "underrun ×4" in words(root)
    assert "underrun" in words(root)
    assert any("0:05.000, 0:05.020, 0:05.040, 0:05.060" in title for title in tooltips(root))


def test_a_long_transcript_is_shortened_and_kept_in_the_tooltip() -> None:
    label = "one two three four five six seven eight nine ten " * 6
    root = parse(render_svg(timeline(spans=[Span("person", 1, 3, label, "interrupted")])))
    shown = [word for word in words(root) if word.startswith("interrupted · one")]
    assert shown
    assert any(word.endswith("…") for word in words(root))
    assert any(label.strip() in title and "2000 ms" in title for title in tooltips(root))


def test_a_turn_goes_on_in_the_next_line_and_is_captioned_once() -> None:
    root = parse(render_svg(timeline(60, spans=[Span("assistant", 25, 45, "a long answer")])))
    assert words(root).count("a long answer") == 1
    boxes_of = r"M(\S+) \S+?H([\d.]+)V"
    tinted = [
        [tuple(map(float, box)) for box in re.findall(boxes_of, path.get("d") or "")]
        for path in root.iter(f"{SVG}path")
        if path.get("data-tint") == "assistant"
    ]
    second = (RIGHT - LEFT) / 30
    assert tinted == [
        [pytest.approx((LEFT + 25 * second, RIGHT), abs=0.01)],
        [pytest.approx((LEFT, LEFT + 15 * second), abs=0.01)],
    ]


def test_events_outside_the_recording_are_drawn_at_its_edge_and_counted() -> None:
    drawn = timeline(
        spans=[Span("person", -2, 1, "early"), Span("assistant", 3, 4, "inside")],
        marks=[Mark(-3, "pause"), Mark(17.25, "resume"), Mark(10.0, "underrun")],
        latencies=[Latency(9, 12)],
    )
    root = parse(render_svg(drawn))
    assert "4 events outside the recording (0 to 10.00 s) drawn at its edge, dashed." in words(root)
    assert any("−0:03.000" in title and "outside" in title for title in tooltips(root))
    assert any("0:17.250" in title and "outside" in title for title in tooltips(root))
    dashed = {
        (path.get("d") or "").split(" ")[0]
        for path in root.iter(f"{SVG}path")
        if path.get("stroke-dasharray") == "3 2" and path.get("stroke-width") == "1.25"
    }
    assert dashed == {f"M{LEFT:g}", f"M{RIGHT:g}"}
    assert_legible(root)
    inside = parse(render_svg(timeline(marks=[Mark(0, "pause"), Mark(10, "resume")])))
    assert not any("outside" in word for word in words(inside))


# --- Gain ----------------------------------------------------------------------------------------


def gain_curves(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML](\S+) ([^L]+)", path.get("d") or "")]
        for path in root.iter(f"{SVG}path")
        if path.get("data-curve") == "gain"
    ]


def test_the_gain_curve_steps_where_the_gain_steps() -> None:
    gain = [(0, 0), (2, 0), (2, -20), (5, -20), (5, -math.inf), (8, -math.inf), (8, 0)]
    (curve,) = gain_curves(parse(render_svg(timeline(gain=gain))))
    top = curve[0][1]
    assert [x for x, _ in curve] == [
        pytest.approx(x_of(t), abs=0.01) for t in (0, 2, 2, 5, 5, 8, 8, 10)
    ]
    # The strip is 26 pixels high for 40 dB; silence is its floor.
    assert [y - top for _, y in curve] == [0, 0, 13, 13, 26, 26, 0, 0]


def test_an_unknown_gain_is_a_gap() -> None:
    root = parse(render_svg(timeline(gain=[(0, 0), (3, 0), (4, math.nan), (6, -6)])))
    first, second = gain_curves(root)
    assert first[-1][0] == pytest.approx(x_of(3), abs=0.01)
    assert second[0][0] == pytest.approx(x_of(6), abs=0.01)
    assert second[-1][0] == RIGHT
    assert "1 gain value unknown (NaN), drawn as a gap." in words(root)
    assert gain_curves(parse(render_svg(timeline(gain=[(1, math.nan)])))) == []


def test_a_dense_gain_curve_stays_small_and_keeps_its_extremes() -> None:
    dips = {1004, 5000, 7777, 8123, 9001}
    gain = [(k / 1000, -20.0 if k in dips else 0.0) for k in range(10_000)]
    svg = render_svg(timeline(gain=gain))
    (curve,) = gain_curves(parse(svg))
    assert len(curve) < 3 * (RIGHT - LEFT)
    floor = max(y for _, y in curve)
    lowest = [x for x, y in curve if y == floor]
    assert lowest == [pytest.approx(x_of(k / 1000), abs=0.01) for k in sorted(dips)]


def test_the_gain_goes_on_in_the_next_line() -> None:
    gain = [(0, 0), (20, 0), (25, -10), (30, -20), (30, 0), (60, -40)]
    first, second = gain_curves(parse(render_svg(timeline(60, gain=gain))))
    pixels = 20 / 40  # per dB
    assert first[-1][0] == RIGHT
    assert first[-1][1] == pytest.approx(first[0][1] + 20 * pixels)
    assert second[0][0] == LEFT
    assert second[-1][1] - second[0][1] == pytest.approx(40 * pixels)


# --- The document --------------------------------------------------------------------------------


def test_text_from_outside_is_escaped() -> None:
    evil = "</text><script>alert(1)</script> & \"q\" 'a' ]]> \x00\x07\ud800 \n\t x"
    shown = "</text><script>alert(1)</script> & \"q\" 'a' ]]> \ufffd\ufffd\ufffd x"
    drawn = Timeline(
        track(tone(10), name=evil),
        track(tone(10), name=evil),
        spans=[Span("person", 0, 9, evil, evil)],
        marks=[Mark(1, evil, evil)],
        latencies=[Latency(1, 2, evil)],
        title=evil,
        subtitle=evil,
    )
    svg = render_svg(drawn, width=2400)
    svg.encode()  # no lone surrogate is left
    root = parse(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {
        *("svg", "title", "desc", "style", "rect", "path", "text", "tspan", "g")
    }
    assert (root.findtext(f"{SVG}title"), words(root)[:2]) == (shown, [shown, shown])
    assert any(shown in title for title in tooltips(root))


def test_the_picture_has_a_name_and_a_description() -> None:
    svg = render_svg(timeline(marks=[Mark(1, "interrupted")], title="A call"))
    root = parse(svg)
    assert root.get("role") == "img"
    named = [root.find(f"{SVG}{tag}") for tag in ("title", "desc")]
    assert all(element is not None for element in named)
    ids = [element.get("id") for element in named if element is not None]
    assert (root.get("aria-labelledby") or "").split() == ids
    assert root.findtext(f"{SVG}title") == "A call"
    assert "interrupted 1" in (root.findtext(f"{SVG}desc") or "")
    other = parse(render_svg(timeline(title="Another call")))
    assert {e.get("id") for e in other.iter()} & set(ids) == set(), "two pictures in one page"


def test_every_colour_works_without_a_style_sheet() -> None:
    for theme, shade in (("auto", 0), ("light", 0), ("dark", 1)):
        svg = render_svg(busy(1, 20), theme=theme)  # type: ignore[arg-type]
        root = parse(svg)
        painted = 0
        for element in root.iter():
            for name in (element.get("class") or "").split():
                if match := re.fullmatch(r"gsg-([fs])-(\w+)", name):
                    attribute = {"f": "fill", "s": "stroke"}[match[1]]
                    assert element.get(attribute) == PALETTE[match[2]][shade]
                    painted += 1
        assert painted > 100
        assert ("prefers-color-scheme" in svg) == (theme == "auto")
        assert "var(" not in re.sub(r"<style>.*?</style>", "", svg, flags=re.DOTALL)


def test_the_style_sheet_stays_inside_the_picture() -> None:
    style = parse(render_svg(timeline())).findtext(f"{SVG}style") or ""
    flat = re.sub(r"@media [^{]+\{(.*)\}\n", r"\1\n", style)
    selectors = [s for group in re.findall(r"([^{}]+)\{", flat) for s in group.split(",")]
    assert len(selectors) > 20
    assert all(selector.strip().startswith(".gsg-") for selector in selectors)


def test_texts_have_enough_contrast() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for shade in (0, 1):
        background = luminance(PALETTE["bg"][shade])
        for name in PALETTE.keys() - {"bg", "lane", "grid"}:
            text = luminance(PALETTE[name][shade])
            light, dark = max(text, background), min(text, background)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name  # WCAG 2.2, 1.4.3


def test_the_same_conversation_gives_the_same_text() -> None:
    assert render_svg(busy(3, 50)) == render_svg(busy(3, 50))
    program = (
        "import hashlib, numpy as np\n"
        "from getstream.plugins.gemini._timeline import *\n"
        "t = Track(np.arange(16000, dtype=np.int16), 16000)\n"
        "marks = [Mark(.1 * k, kind) for k in range(9) for kind in ('pause', 'duck', 'other')]\n"
        "svg = render_svg(Timeline(t, t, [Span('person', 0, 1, 'x')], marks))\n"
        "print(hashlib.sha256(svg.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def recorded(name: str) -> NDArray[np.int16]:
    path = resources.files("getstream.plugins.gemini") / "data" / name
    with path.open("rb") as file, wave.open(file) as clip:
        assert (clip.getframerate(), clip.getnchannels(), clip.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(clip.readframes(clip.getnframes()), "<i2").astype(np.int16)


def test_ten_minutes_of_talk_fit_in_300_kilobytes() -> None:
    speech, answer = recorded("speech.wav"), recorded("question.wav")
    person, assistant = (np.zeros(600 * RATE, np.int16) for _ in range(2))
    spans, marks, latencies = [], [], []
    start = 0.5
    while start < 584:
        end = start + len(speech) / RATE
        person[int(start * RATE) :][: len(speech)] = speech
        spans.append(Span("person", start, end, "He was not an ill disposed young man, " * 3))
        latencies.append(Latency(end, end + 0.5, "to first word"))
        start, end = end + 0.5, end + 0.5 + len(answer) / RATE
        assistant[int(start * RATE) :][: len(answer)] = answer
        spans.append(Span("assistant", start, end, "He might have been made amiable. " * 2))
        marks += [Mark(end - 0.3, "duck"), Mark(end - 0.2, "pause"), Mark(end, "interrupted")]
        start = end + 0.1
    talk = Timeline(track(person), track(assistant), spans, marks, latencies)
    svg = render_svg(talk)
    assert len(svg.encode()) < 300_000
    root = parse(svg)
    assert len(waves(root, "person")) == len(waves(root, "assistant")) == 10
    assert_legible(root)


def test_an_hour_still_has_a_handful_of_lines() -> None:
    hour = track(np.zeros(3600 * 8000, np.int16), 8000)
    root = parse(render_svg(Timeline(hour, hour, marks=[Mark(3599, "underrun")])))
    assert words(root).count("Person") == 12
    assert {"0:05:00", "1:00:00", "underrun"} <= set(words(root))


@pytest.mark.parametrize(
    "drawn",
    [
        Timeline(track(SILENCE), track(SILENCE)),
        Timeline(track(SILENCE), track(SILENCE), duration=0.0),
        Timeline(track(SILENCE), track(SILENCE), [Span("person", 0, 0, "x")], [Mark(0, "pause")]),
        Timeline(track(SILENCE), track(SILENCE), [Span("person", 1, 2)], [Mark(3, "pause")]),
        Timeline(track(SILENCE), track(SILENCE), (), (), [Latency(0, 1)], [(0, math.nan)]),
        Timeline(track(np.ones(1, np.int16)), track(SILENCE)),
        Timeline(track(np.ones(1, np.int16), 1), track(np.ones(2, np.int16), 96_000)),
        Timeline(track(np.zeros(RATE, np.int16)), track(np.zeros(7, np.int16))),
        Timeline(track(SILENCE), track(SILENCE), duration=12.0, gain=[(20, -3)]),
        Timeline(track(SILENCE), track(SILENCE), duration=1e6),
        timeline(title="", subtitle=" ", duration=2.5),
    ],
)
def test_odd_conversations_are_drawn(drawn: Timeline) -> None:
    root = parse(render_svg(drawn))
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    assert width == 1200
    assert 200 < height < 5000
    assert "nan" not in ElementTree.tostring(root, encoding="unicode").replace("(NaN)", "")
    assert words(root).count("no audio") == sum(
        not len(side.samples) for side in (drawn.person, drawn.assistant)
    )
    assert_legible(root)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Track(np.zeros(3, np.float32), RATE), "int16"),
        (lambda: Track(np.zeros((2, 3), np.int16), RATE), r"shape \(2, 3\)"),
        (lambda: Track([1, 2], RATE), "list"),  # type: ignore[arg-type]
        (lambda: Track(SILENCE, 0), "sample_rate"),
        (lambda: Track(SILENCE, -16_000), "sample_rate"),
        (lambda: Track(SILENCE, math.nan), "sample_rate"),  # type: ignore[arg-type]
        (lambda: Span("person", 2, 1), "before it starts"),
        (lambda: Span("person", math.nan, 1), "finite"),
        (lambda: Span("nobody", 0, 1), "who"),  # type: ignore[arg-type]
        (lambda: Mark(math.inf, "pause"), "finite"),
        (lambda: Mark(1, ""), "kind"),
        (lambda: Mark(1, "pause", who="nobody"), "who"),  # type: ignore[arg-type]
        (lambda: Latency(2, 1), "before it starts"),
        (lambda: timeline(gain=[(1, 0), (0, 0)]), "order"),
        (lambda: timeline(gain=[(math.nan, 0)]), "order"),
        (lambda: timeline(gain=[(0, math.inf)]), "infinite"),
        (lambda: timeline(duration=-1), "duration"),
        (lambda: timeline(duration=math.nan), "duration"),
        (lambda: render_svg(timeline(), width=100), "width"),
        (lambda: render_svg(timeline(), theme="blue"), "theme"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused(make: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make()


# --- Heard and unheard words ----------------------------------------------------------------------


def test_words_that_nobody_heard_are_struck_out() -> None:
    spans = [
        Span("person", 0, 2, "How far is it?"),
        Span("assistant", 3, 6, "It is a mile", "interrupted", "from here to the sea."),
    ]
    root = parse(render_svg(timeline(spans=spans)))
    assert " ".join(struck(root)).split() == ["from", "here", "to", "the", "sea."]
    assert "interrupted · It is a mile from here to the sea." in " ".join(words(root))
    assert any("It is a mile from here to the sea." in each for each in tooltips(root))


def test_without_unheard_words_nothing_is_struck_out() -> None:
    root = parse(render_svg(timeline(spans=[Span("assistant", 3, 6, "It is a mile.")])))
    assert struck(root) == []


@pytest.mark.parametrize(("label", "unheard"), [("", "Nothing of it."), ("a", '<b> & "c"')])
def test_unheard_words_at_the_edges(label: str, unheard: str) -> None:
    root = parse(render_svg(timeline(spans=[Span("assistant", 3, 6, label, "", unheard)])))
    assert struck(root) == [unheard]


def test_lines_are_divided_where_the_heard_words_end() -> None:
    heard = "one two three four five six seven eight"
    unheard = "nine ten eleven twelve thirteen fourteen fifteen sixteen"
    for width in range(40, 400, 7):
        lines = wrap(f"{heard} {unheard}", width, 12.0, 3)
        parts = split_lines(lines, len(heard) + 1)
        assert [a + b for a, b in parts] == lines
        before = " ".join(a.strip() for a, _ in parts if a.strip()).removesuffix("…")
        after = " ".join(b for _, b in parts if b).removesuffix("…")
        assert heard.startswith(before)
        assert unheard.startswith(after)
