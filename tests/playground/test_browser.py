"""Tests of the playground in a real browser, whose microphone is a file.

Skipped, with a line in the summary that says so, where there is no Chromium; `REQUIRE_CHROMIUM=1`
makes that a failure.
"""

from __future__ import annotations

import base64
import os
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from getstream.plugins.gemini._cli.clips import data_file
from getstream.plugins.gemini.audio import Resampler
from getstream.plugins.gemini.testing.signals import read_wav
from numpy.typing import NDArray
from scipy.signal import correlate

if find_chromium() is None:
    if os.environ.get("REQUIRE_CHROMIUM"):
        raise RuntimeError("REQUIRE_CHROMIUM is set, and there is no Chromium")
    pytest.skip(
        "THE PLAYGROUND IS NOT TESTED IN A BROWSER: there is no Chromium (`make chromium` installs "
        "one)",
        allow_module_level=True,
    )

pytestmark = pytest.mark.acceptance

RATE = 48_000
LEAD_S = 3.0  # before the person speaks: the page has to be open and connected by then
PHONE, DESK = (390, 844), (1200, 900)
NO_ANSWER = "RTCPeerConnection.prototype.setRemoteDescription = () => new Promise(() => {})"
"""Script with which a call by WebRTC is never answered, as behind some firewalls."""


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a sentence, for the browser to take as its microphone, once."""
    samples, rate = read_wav(data_file("question.wav"))
    sentence = Resampler(rate, RATE).push(samples)
    target = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    with wave.open(str(target), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * round(LEAD_S * RATE)))
        file.writeframes(sentence.tobytes())
        file.writeframes(bytes(2 * 60 * RATE))
    return target


@contextmanager
def browser_with(microphone: Path, folder: Path, *arguments: str) -> Iterator[Chromium]:
    """Run a browser that gives out its microphone unasked; it must not complain of the page."""
    with Chromium(
        folder,
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
        *arguments,
    ) as browser:
        browser.show_as(width=DESK[0], height=DESK[1])
        yield browser
        assert browser.complaints == []
        assert all(url.startswith("http://127.0.0.1:") for url in browser.requests)


def start(browser: Chromium, address: str, way: str) -> None:
    browser.open(address)
    browser.run(f"document.getElementById('way').value = '{way}'")
    browser.run("document.getElementById('start').click()")
    browser.wait_for(
        f"{text_of('start')} === 'Hang up' || !document.getElementById('notice').hidden"
    )
    assert browser.run(text_of("notice")) == ""
    browser.wait_for(f"{text_of('gemini')}.includes('ready')")


def text_of(name: str) -> str:
    return f"document.getElementById('{name}').textContent"


def events(browser: Chromium) -> str:
    return str(browser.run("[...document.querySelectorAll('#log li')].map(log => log.textContent)"))


def until_event(browser: Chromium, name: str) -> None:
    browser.wait_for(
        "[...document.querySelectorAll('#log span')].some"
        f"((each) => each.textContent.startsWith('{name}'))"
    )


def recording(browser: Chromium) -> tuple[NDArray[np.int16], int]:
    """Return what the page has recorded: shape `(n, 2)`, left the person, right the assistant."""
    encoded = browser.run(
        "(() => { const bytes = new Uint8Array(playground.recording().buffer); let text = ''; "
        "for (let i = 0; i < bytes.length; i += 32768) "
        "text += String.fromCharCode(...bytes.subarray(i, i + 32768)); return btoa(text); })()"
    )
    samples = np.frombuffer(base64.b64decode(encoded), np.int16).reshape(-1, 2)
    return samples, int(browser.run("playground.rate()"))


def heard_again(both: NDArray[np.int16], rate: int) -> tuple[float, float]:
    """Return how alike what was said and heard are, 0 to 1, and how much later it was, in s."""
    loud = np.flatnonzero(np.abs(both[:, 0].astype(int)) > 500)
    said = both[loud[0] : loud[-1], 0].astype(float)
    heard = both[loud[0] :, 1].astype(float)
    products = correlate(heard, said, "valid", method="fft")
    at = int(products.argmax())
    part = heard[at : at + len(said)]
    energy = float(np.square(part).sum() * np.square(said).sum())
    return float(products[at]) / max(1.0, energy**0.5), at / rate


def test_over_the_websocket_the_parrot_is_heard_whole(
    address: str, microphone: Path, tmp_path: Path
) -> None:
    with browser_with(microphone, tmp_path) as browser:
        start(browser, address, "socket")
        assert browser.run(text_of("media")).endswith("WebSocket")
        until_event(browser, "playback finished")
        browser.wait_for(f"{text_of('m-answer')}.endsWith('ms')")
        likeness, delay_s = heard_again(*recording(browser))
        assert likeness >= 0.98
        assert delay_s > 0
        assert browser.run("document.querySelectorAll('#said li.bot').length") == 1
        assert "messages unsent" in browser.run(text_of("stats"))


def test_over_webrtc_the_parrot_is_heard(address: str, microphone: Path, tmp_path: Path) -> None:
    """Opus and the browser's time stretching change the wave; its loudness over time stays."""
    with browser_with(microphone, tmp_path) as browser:
        start(browser, address, "peer")
        if browser.run(text_of("media")).endswith("WebSocket"):
            pytest.skip("WEBRTC IS NOT TESTED: there is no interface but loopback here")
        until_event(browser, "playback finished")
        both, rate = recording(browser)
        step = rate // 50
        frames = both[: len(both) // step * step].astype(float).reshape(-1, step, 2)
        levels = np.sqrt(np.square(frames).mean(1))
        likeness, _ = heard_again((levels * 1.0).astype(np.int16), 50)
        assert likeness >= 0.9


def test_where_webrtc_does_not_connect_the_websocket_takes_over(
    address: str, microphone: Path, tmp_path: Path
) -> None:
    with browser_with(microphone, tmp_path) as browser:
        browser.command("Page.addScriptToEvaluateOnNewDocument", source=NO_ANSWER)
        start(browser, address, "peer")
        assert browser.run(text_of("media")).endswith("WebSocket")
        until_event(browser, "playback started")


def test_faults_texts_and_buttons_by_keyboard_alone(
    address: str, microphone: Path, tmp_path: Path
) -> None:
    with browser_with(microphone, tmp_path) as browser:
        browser.open(address)
        browser.press("Tab")
        assert browser.run("document.activeElement.id") == "start"
        browser.run("document.getElementById('way').value = 'socket'")
        browser.press("Enter", text="\r")
        browser.wait_for(f"{text_of('gemini')}.includes('ready')")
        browser.wait_for("!document.getElementById('mute').disabled")
        seen = []
        for _ in range(20):
            browser.press("Tab")
            seen.append(
                browser.run("document.activeElement.id || document.activeElement.innerText")
            )
            assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
            if seen[-1] == "Short outage":
                break
        assert seen[:7] == ["mute", "hold", "drop", "camera", "screen", "save", "text"]
        browser.press("Enter", text="\r")
        browser.wait_for(f"{text_of('outcome')}.includes('None of your voice was given up')")
        assert "4 attempts, in the same session" in browser.run(text_of("outcome"))
        assert browser.run("document.getElementById('outcome').className") == "good"
        browser.run("document.getElementById('text').focus()")
        browser.run("document.getElementById('text').value = '<b>Hello</b>'")
        browser.press("Enter", text="\r")
        until_event(browser, "playback started")
        assert browser.run("document.querySelectorAll('#said b').length") == 0
        browser.run("document.getElementById('drop').focus()")
        browser.press("Enter", text="\r")
        until_event(browser, "interrupted")
        browser.wait_for("document.querySelector('#said s.unheard') !== null")


def test_how_it_gives_way_is_set_by_keyboard_alone(
    address: str, microphone: Path, tmp_path: Path
) -> None:
    with browser_with(microphone, tmp_path) as browser:
        start(browser, address, "socket")
        assert browser.run("document.getElementById('barge').checked") is True
        names = ["duck_db", "pause_after_ms", "resume_after_ms", "commit_after_ms"]
        figures = browser.run("[...document.querySelectorAll('#times input')].map(x => x.value)")
        assert figures == ["-15", "32", "400", "600"], "as BargeIn has them"
        browser.run("document.getElementById('barge').focus()")
        for name in names:
            browser.press("Tab")
            assert browser.run("document.activeElement.id") == name
            assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
            browser.press("ArrowRight")
            assert browser.run("document.activeElement.labels[0].textContent").strip()
        browser.wait_for("playground.bargeIn.commit_after_ms === 700")
        told = browser.run("playground.bargeIn")
        assert [told[name] for name in names] == [-14, 48, 450, 700]
        assert browser.run(text_of("times")).count("700 ms") == 1
        browser.run("document.getElementById('barge').focus()")
        browser.press(" ", code="Space", text=" ")
        browser.wait_for("playground.bargeIn.on === false")
        assert browser.run("playground.bargeIn.resume_after_ms") == 450, "kept for later"
        browser.press(" ", code="Space", text=" ")
        browser.wait_for("playground.bargeIn.on === true")
        assert "refused" not in events(browser)


def test_a_camera_is_sent_as_pictures(address: str, microphone: Path, tmp_path: Path) -> None:
    with browser_with(microphone, tmp_path) as browser:
        start(browser, address, "socket")
        browser.run("document.getElementById('camera').click()")
        browser.wait_for("playground.images > 1")
        assert browser.run("document.getElementById('camera').ariaPressed") == "true"
        browser.run("document.getElementById('camera').click()")
        browser.wait_for("document.getElementById('preview').hidden")
        assert "refused" not in events(browser)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_is_wider_than_the_page(
    address: str, microphone: Path, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    with browser_with(microphone, tmp_path) as browser:
        browser.show_as(width=size[0], height=size[1], dark=dark)
        start(browser, address, "socket")
        until_event(browser, "playback started")
        (tmp_path / "page.png").write_bytes(browser.picture())
        assert browser.run("document.documentElement.scrollWidth") == size[0]
        background = browser.run("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(12, 16, 22)" if dark else "rgb(246, 247, 249)")


def test_the_second_page_takes_over(address: str, microphone: Path, tmp_path: Path) -> None:
    with browser_with(microphone, tmp_path / "1") as first:
        start(first, address, "socket")
        with browser_with(microphone, tmp_path / "2") as second:
            start(second, address, "socket")
            first.wait_for("!document.getElementById('notice').hidden")
            assert first.run(text_of("notice")) == "Another page has taken over."
            assert first.run(text_of("start")) == "Start talking"


def test_a_wrong_link_is_said(address: str, microphone: Path, tmp_path: Path) -> None:
    with browser_with(microphone, tmp_path) as browser:
        browser.open(address.partition("#")[0] + "#wrong")
        browser.run("document.getElementById('start').click()")
        browser.wait_for("!document.getElementById('notice').hidden")
        assert browser.run(text_of("notice")) == "The link is not of this playground."
