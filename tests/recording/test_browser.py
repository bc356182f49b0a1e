"""Tests of the page in a real browser: its policy, its looks, its keys, hostile words, an hour.

Skipped, with a line in the summary that says so, where there is no Chromium; `REQUIRE_CHROMIUM=1`
makes that a failure.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from chromium import Chromium, find_chromium
from getstream.plugins.gemini.recording import page as page_module
from getstream.plugins.gemini.recording import read_recording, write_page
from recorded_call import HOSTILE, repeat

if find_chromium() is None:
    if os.environ.get("REQUIRE_CHROMIUM"):
        raise RuntimeError("REQUIRE_CHROMIUM is set, and there is no Chromium")
    pytest.skip(
        "THE REPORT PAGE IS NOT TESTED: there is no Chromium (`make chromium` installs one)",
        allow_module_level=True,
    )

PHONE, DESK = (390, 844), (1200, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def page(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "page.html"
    write_page(read_recording(recorded), target)
    return target


@pytest.fixture(autouse=True)
def _clean(browser: Chromium) -> Iterator[None]:
    """Every test ends without a complaint of the page and without a request to anywhere."""
    browser.show_as(width=DESK[0], height=DESK[1])
    browser.complaints.clear()
    browser.requests.clear()
    yield
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("file:")] == []


def show(browser: Chromium, page: Path) -> None:
    browser.open(page.as_uri())


def test_the_policy_is_in_force_and_the_page_works_under_it(browser: Chromium, page: Path) -> None:
    show(browser, page)
    assert len(browser.requests) == 1, "the page itself"
    assert browser.run("document.querySelectorAll('#turns li').length") == 5
    blocked = browser.run(
        "new Promise((resolve) => { addEventListener('securitypolicyviolation', "
        "(event) => resolve(event.effectiveDirective), { once: true }); "
        "const script = document.createElement('script'); script.textContent = 'hacked = 1'; "
        "document.body.append(script); })"
    )
    assert blocked == "script-src-elem"
    assert browser.run("typeof hacked") == "undefined"
    assert browser.run("fetch('https://example.com').then(() => 'sent', () => 'refused')") == (
        "refused"
    )
    browser.complaints.clear()  # these two were ours
    browser.requests.clear()


def test_unheard_words_are_struck(browser: Chromium, page: Path) -> None:
    show(browser, page)
    struck = browser.run("[...document.querySelectorAll('#turns s')].map((s) => s.textContent)")
    assert struck == [" young man, unless to be rather cold hearted."]
    label = browser.run("document.querySelector('#turns s').getAttribute('aria-label')")
    assert label.startswith("not heard:")


def test_it_plays_and_the_cursor_moves(browser: Chromium, page: Path) -> None:
    show(browser, page)
    browser.run("report.seek(2)")
    browser.run("document.getElementById('play').click()")
    browser.wait_for("report.now > 2.3")
    assert browser.run("document.getElementById('play').textContent") == "Pause"
    assert abs(browser.run("report.audio.duration - call.seconds")) < 0.05
    browser.run("document.getElementById('play').click()")
    browser.wait_for("report.audio.paused")


@pytest.mark.parametrize(("side", "gains"), [("0", [1, 0]), ("1", [0, 1]), ("both", [1, 1])])
def test_one_side_alone(browser: Chromium, page: Path, side: str, gains: list[int]) -> None:
    show(browser, page)
    choose = "const s = document.getElementById('side'); s.value = '{}'; "
    changed = "s.dispatchEvent(new Event('change'));"
    browser.run("{" + choose.format("0") + changed + "}")
    browser.run("{" + choose.format(side) + changed + "}")
    assert browser.run("graph.gains.map((gain) => gain.gain.value)") == gains


def test_speed(browser: Chromium, page: Path) -> None:
    show(browser, page)
    browser.run("{ const s = document.getElementById('speed'); s.value = '2'; }")
    browser.run("play()")
    assert browser.run("report.audio.playbackRate") == 2
    browser.run("report.audio.pause()")


def test_everything_can_be_done_with_the_keyboard(browser: Chromium, page: Path) -> None:
    show(browser, page)
    seen = []
    for _ in range(14):
        browser.press("Tab")
        seen.append(browser.run("document.activeElement.id || document.activeElement.tagName"))
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert browser.run(outline) != "none", seen[-1]
    assert seen[:7] == ["overview", "play", "previous", "next", "side", "speed", "window"]
    assert seen.count("BUTTON") == 5, "a button for each turn"
    browser.run("document.getElementById('overview').focus()")
    browser.press("ArrowRight")
    assert browser.run("report.now") == pytest.approx(1.0)
    slider = "document.getElementById('overview').getAttribute('aria-valuenow')"
    assert browser.run(slider) == "1.0"
    browser.press("ArrowDown")
    assert browser.run("report.now") == pytest.approx(browser.run("call.turns[1].start"))
    browser.press("ArrowUp")
    assert browser.run("report.now") == pytest.approx(browser.run("call.turns[0].start"))
    browser.press("End")
    assert browser.run("report.now > call.seconds - 0.1") is True
    browser.press("Home")
    assert browser.run("report.now") == 0
    browser.press("-", text="-")
    assert browser.run("document.getElementById('window').value") == "30"
    browser.press("+", text="+")
    assert browser.run("document.getElementById('window').value") == "12"
    browser.press(" ", code="Space", text=" ")
    browser.wait_for("report.now > 0.2")
    browser.press(" ", code="Space", text=" ")
    browser.wait_for("report.audio.paused")


def pixels(picture: bytes) -> np.ndarray:
    """Decode a PNG, with what the package has anyway."""
    with av.open(io.BytesIO(picture)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_it_looks_right(
    browser: Chromium, page: Path, size: tuple[int, int], dark: bool, tmp_path: Path
) -> None:
    """Nothing is wider than the page, and both voices are drawn in their colours."""
    browser.show_as(width=size[0], height=size[1], dark=dark)
    show(browser, page)
    browser.run("report.seek(14)")
    picture = browser.picture()
    (tmp_path / "page.png").write_bytes(picture)
    image = pixels(picture)
    assert bool(image[2, 2].mean() < 60) is dark
    assert browser.run("document.documentElement.scrollWidth") == size[0]
    inks = {"you": (0x3C, 0xCF, 0xC4), "bot": (0xA5, 0x99, 0xFF)} if dark else {
        "you": (0x0B, 0x7A, 0x75), "bot": (0x5B, 0x4B, 0xD6),
    }  # fmt: skip
    for name, colour in inks.items():
        assert (np.abs(image.astype(int) - colour).max(axis=2) < 4).sum() > 1000, name
    small = browser.run(
        "[...document.querySelectorAll('main button, main select')]"
        ".filter((e) => e.getBoundingClientRect().height < 32).length"
    )
    assert small == 0, "a finger hits every control"


def test_in_print_it_is_light_and_whole(browser: Chromium, page: Path) -> None:
    browser.show_as(width=DESK[0], height=DESK[1], dark=True)
    show(browser, page)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    ink = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
    assert browser.run(ink) == "#17202b"
    assert browser.run("[report.view, span()]") == [0, browser.run("call.seconds")]
    pdf = browser.command("Page.printToPDF", printBackground=True)
    assert len(pdf["data"]) > 10_000
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(ink) == "#e8edf3"


def test_hostile_words_are_words(browser: Chromium, hostile: Path) -> None:
    show(browser, hostile)
    browser.run("report.seek(5)")
    assert browser.run("typeof hacked") == "undefined"
    assert browser.run("document.querySelectorAll('main img, main script, main b b').length") == 0
    assert browser.run("document.scripts.length") == 3
    shown = browser.run("document.getElementById('turns').textContent")
    for text in HOSTILE[:8]:
        assert " ".join(text.split()) in shown
    assert browser.run("document.documentElement.scrollWidth") == DESK[0]


def test_an_hour_costs_no_more_to_draw_than_a_minute(
    browser: Chromium, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what is read of the peaks for one picture, in every window and anywhere."""
    repeat(recorded, tmp_path / "r", 150, sounding=5)
    recording = read_recording(tmp_path / "r")
    # Half a minute of encoding is not what this is about.
    monkeypatch.setattr(page_module, "_encode", lambda recording: b"")
    silent = tmp_path / "silent.html"
    write_page(recording, silent)
    show(browser, silent)
    assert browser.run("call.seconds") > 3600
    assert browser.run("document.getElementById('play').disabled") is True
    width = browser.run("document.getElementById('zoom').clientWidth")
    for window in ("4", "12", "120", "600"):
        browser.run("document.getElementById('window').value = '" + window + "'")
        for at in (0, 1800, 3500):
            browser.run(f"report.look({at}); report.redraw()")
            assert 0 < browser.run("report.stepsRead") <= 2 * 16 * width
    browser.run("report.seek(3000)")
    assert browser.run("document.querySelectorAll('[aria-current]').length") == 1
    assert browser.run("document.getElementById('clock').textContent").startswith("50:00.0 of 1:00")
