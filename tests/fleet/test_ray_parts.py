"""The parts of a fleet on Ray that need no cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from getstream.plugins.gemini.errors import ConfigError
from getstream.plugins.gemini.fleet._ray import _reaper
from getstream.plugins.gemini.fleet._ray._outbox import ControlSilentError, Outbox
from getstream.plugins.gemini.live import Resumption
from getstream.plugins.gemini.testing.clock import run_virtual
from hypothesis import given
from hypothesis import strategies as st


def resumption(handle: str) -> Resumption:
    return Resumption(handle, "a-model")


class FakeControl:
    """Hears news while it is there."""

    def __init__(self) -> None:
        self.away = False
        self.heard: list[tuple[Any, ...]] = []
        self.before: Callable[[], None] | None = None  # called once, while it hears

    async def save(self, cid: str, epoch: int, resume: Resumption) -> None:
        await self._hear("saved", cid, epoch, resume.handle)

    async def over(self, cid: str, epoch: int, failed: bool, error: str) -> None:
        await self._hear("over", cid, epoch, failed, error)

    async def _hear(self, *news: Any) -> None:
        if self.away:
            raise ControlSilentError("away")
        await asyncio.sleep(0.01)
        self.heard.append(news)
        if self.before is not None:
            before, self.before = self.before, None
            before()


def with_outbox(scenario: Callable[[FakeControl, Outbox], Any]) -> FakeControl:
    """Run a scenario on a virtual clock beside an outbox."""

    async def main() -> FakeControl:
        control = FakeControl()
        outbox = Outbox(control.save, control.over)
        running = asyncio.create_task(outbox.run())
        try:
            await scenario(control, outbox)
        finally:
            running.cancel()
        return control

    return run_virtual(main())


def test_an_outbox_delivers_in_order() -> None:
    async def scenario(control: FakeControl, outbox: Outbox) -> None:
        outbox.put_saved("default:a", 1, resumption("first"))
        await outbox.wait_empty()
        outbox.put_saved("default:a", 1, resumption("second"))
        outbox.put_over("default:a", 1, True, "it failed")
        await outbox.wait_empty()
        assert len(outbox) == 0

    assert with_outbox(scenario).heard == [
        ("saved", "default:a", 1, "first"),
        ("saved", "default:a", 1, "second"),
        ("over", "default:a", 1, True, "it failed"),
    ]


def test_an_outbox_keeps_the_newest_while_the_control_is_away() -> None:
    async def scenario(control: FakeControl, outbox: Outbox) -> None:
        control.away = True
        for number in range(100):
            outbox.put_saved("default:a", 1, resumption(f"handle {number}"))
            outbox.put_saved("default:b", 7, resumption(f"handle {number}"))
            await asyncio.sleep(0.3)
        outbox.put_over("default:b", 7, False)
        assert len(outbox) == 2
        control.away = False
        await outbox.wait_empty()

    heard = with_outbox(scenario).heard
    assert sorted(heard) == [
        ("over", "default:b", 7, False, ""),
        ("saved", "default:a", 1, "handle 99"),
        ("saved", "default:b", 7, "handle 99"),
    ]
    assert heard[-1][0] == "over"


def test_an_outbox_sends_what_arrives_while_it_sends() -> None:
    async def scenario(control: FakeControl, outbox: Outbox) -> None:
        control.before = lambda: outbox.put_saved("default:a", 1, resumption("second"))
        outbox.put_saved("default:a", 1, resumption("first"))
        await outbox.wait_empty()

    assert [news[3] for news in with_outbox(scenario).heard] == ["first", "second"]


def test_news_that_is_refused_holds_nothing_up() -> None:
    async def scenario(control: FakeControl, outbox: Outbox) -> None:
        def refuse() -> None:
            raise TypeError

        control.before = refuse
        outbox.put_saved("default:a", 1, resumption("first"))
        outbox.put_over("default:a", 1, False)
        await outbox.wait_empty()

    assert [news[0] for news in with_outbox(scenario).heard] == ["saved", "over"]


def test_without_ray_it_says_what_to_install() -> None:
    program = """
        import sys

        class NoRay:
            def find_spec(self, name, path=None, target=None):
                if name == "ray":
                    raise ModuleNotFoundError("No module named 'ray'", name="ray")

        sys.meta_path.insert(0, NoRay())
        from getstream.plugins.gemini.errors import ConfigError
        from getstream.plugins.gemini.fleet._ray import find_ray_fleet
        try:
            find_ray_fleet()
        except ConfigError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert 'pip install "getstream-plugins-gemini[ray]"' in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
class TestReaper:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(_reaper.VARIABLE, "restored at the end")

    def test_it_ends_what_was_started_after_it_and_nothing_else(self) -> None:
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        reaper = _reaper.Reaper()
        stopped = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with other, stopped:
            stopped.send_signal(signal.SIGSTOP)
            reaper.close()
            assert stopped.wait(10) == -signal.SIGKILL
            other.communicate(b"\n", timeout=10)
            assert other.returncode == 0

    def test_it_ends_what_writes_to_a_folder_and_leaves_who_reads(self, tmp_path: Path) -> None:
        reaper = _reaper.Reaper()
        reaper.add_folder(str(tmp_path))
        log = tmp_path / "log"
        command, pipe = [sys.executable, "-c", "input()"], subprocess.PIPE
        with log.open("wb") as to, log.open("rb") as reading:
            writer = subprocess.Popen(command, stdin=pipe, env={}, pass_fds=[to.fileno()])
            reader = subprocess.Popen(command, stdin=pipe, env={}, pass_fds=[reading.fileno()])
        with writer, reader, log.open("wb"):  # its owner writes there as well, and lives
            reaper.close()
            assert writer.wait(10) == -signal.SIGKILL
            reader.communicate(b"\n", timeout=10)
            assert reader.returncode == 0

    def test_it_does_so_when_its_owner_is_killed(self) -> None:
        owner = """
            import subprocess, sys
            from getstream.plugins.gemini.fleet._ray._reaper import Reaper
            reaper = Reaper()
            program = "import os; print(os.getpid(), flush=True); input()"
            child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
            print(reaper.pid, flush=True)
            child.wait()
        """
        # Its children have the pipe, which ends with the last of them.
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(owner)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.readline()
            process.kill()
            assert process.stdout.read() == b""


class TestWithRay:
    """What imports Ray, and starts none."""

    @pytest.fixture(autouse=True)
    def ray(self) -> Any:
        return pytest.importorskip("ray", reason="the extra `ray` is not installed")

    @given(
        st.lists(st.integers(0, 64).map(float), max_size=8),
        st.integers(1, 100),
    )
    def test_the_cpus_of_a_worker_leave_room_for_one_more(
        self, nodes: list[float], workers: int
    ) -> None:
        from getstream.plugins.gemini.fleet._ray._fleet import cpus_of_worker

        share = cpus_of_worker(nodes, workers)
        assert 0 < share <= 1
        if sum(nodes) > 0:
            # Ray's own arithmetic is in ten-thousandths.
            units = round(share * 10_000)
            assert sum(int(node * 10_000) // units for node in nodes) >= workers + 1

    @pytest.mark.parametrize(
        ("nodes", "workers", "share"),
        [
            ([8.0], 4, 1.0),
            ([4.0], 4, 0.8),
            ([2.0, 2.0], 3, 1.0),
            ([2.0, 2.0], 4, 0.6666),
            ([0.0, 1.0], 1, 0.5),
            ([], 3, 1.0),
        ],
    )
    def test_cpus_of_a_worker(self, nodes: list[float], workers: int, share: float) -> None:
        from getstream.plugins.gemini.fleet._ray._fleet import cpus_of_worker

        assert cpus_of_worker(nodes, workers) == share

    def test_a_stopped_process_is_ended(self) -> None:
        from getstream.plugins.gemini.fleet._ray._fate import end_process, psutil

        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            process.send_signal(signal.SIGSTOP)
            created = psutil.Process(process.pid).create_time()
            assert end_process(process.pid, created, 10)
            assert not psutil.pid_exists(process.pid)
            assert end_process(process.pid, created, 10), "it is gone"

    def test_a_process_that_got_the_number_later_is_left_alone(self) -> None:
        from getstream.plugins.gemini.fleet._ray._fate import end_process, psutil

        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            created = psutil.Process(process.pid).create_time()
            assert end_process(process.pid, created - 1, 10)
            process.communicate(b"\n", timeout=10)
            assert process.returncode == 0

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux does it")
    def test_a_process_dies_with_its_parent_even_when_it_is_stopped(self) -> None:
        from getstream.plugins.gemini.fleet._ray._fate import psutil

        child = """
            import os, signal, ray
            from getstream.plugins.gemini.fleet._ray._fate import die_with_parent
            die_with_parent()
            print(os.getpid(), flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        """
        parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {textwrap.dedent(child)!r}])"  # noqa: E501
        with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            stopped = psutil.Process(int(process.stdout.readline()))
            deadline = time.monotonic() + 10
            while stopped.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
                os.sched_yield()
            process.kill()
            stopped.wait(10)

    def test_a_cluster_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from getstream.plugins.gemini.fleet._ray import find_ray_fleet

        monkeypatch.setenv("RAY_ADDRESS", "not an address")
        with pytest.raises(ConfigError, match="not an address"):
            find_ray_fleet()
