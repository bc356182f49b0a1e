"""Run the video sender: one task, one worker, and their counters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import AudioError, GeminiError, VideoError
from .video import VideoSender

logger = logging.getLogger("getstream.plugins.gemini")

STOP_S = 2.0
"""Seconds that a video source has to end when it is cancelled."""


class VideoInput:
    """Sends the pictures of one source at a time.

    Args:
        spawn: makes a task that its owner looks after.
        wait_until_ready: waits until there is a connection.
        send: sends one JPEG; False if there is no connection.
        report: tells of an error that ends nothing.
    """

    def __init__(
        self,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        wait_until_ready: Callable[[], Awaitable[object]],
        send: Callable[[bytes], Awaitable[bool]],
        report: Callable[[GeminiError], None],
    ) -> None:
        self._spawn = spawn
        self._wait_until_ready = wait_until_ready
        self._send = send
        self._report = report
        self._sender: VideoSender | None = None
        self._task: asyncio.Task[None] | None = None
        self._worker: ThreadPoolExecutor | None = None
        self._frames_sent = self._frames_rejected = 0  # by senders that have ended

    @property
    def frames_sent(self) -> int:
        """Return how many pictures went to Gemini."""
        return self._frames_sent + (self._sender.sent if self._sender else 0)

    @property
    def frames_rejected(self) -> int:
        """Return how many frames could not be used."""
        return self._frames_rejected + (self._sender.bad if self._sender else 0)

    @property
    def is_busy(self) -> bool:
        """Return whether a source is being sent."""
        return self._task is not None and not self._task.done()

    @property
    def sender(self) -> VideoSender | None:
        """Return the sender that runs."""
        return self._sender

    async def start(self, track: Any, fps: float, check_open: Callable[[], None]) -> VideoSender:
        """Send the pictures of `track`; a sender that runs is replaced.

        Raises:
            ConfigError: the track or `fps` cannot be used.
        """
        if self._worker is None:
            # A thread of its own: aiortc encodes the outgoing audio in the default executor.
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="gemini-video")
        sender = VideoSender(track, fps, self._send, self._worker)
        while self._task is not None:  # another call may start one while this one waits
            await self.stop()
        check_open()
        self._sender = sender
        self._task = self._spawn(self._run(sender))
        return sender

    async def stop(self) -> None:
        """Stop sending pictures. Idempotent.

        Called by the video source itself, it stops the source at its next wait or frame.
        """
        task, self._task = self._task, None
        if task is None:
            return
        if self._sender is not None:
            self._sender.stopped = True
        task.cancel()
        if task is not asyncio.current_task():
            _, stuck = await asyncio.wait([task], timeout=STOP_S)
            if stuck:
                logger.error("The video track does not end although it was cancelled: %r", task)

    def cancel(self) -> None:
        """Begin to stop, without waiting."""
        if self._task is not None:
            self._task.cancel()

    async def aclose(self) -> None:
        """Stop."""
        await self.stop()

    def discard(self) -> None:
        """Let the worker go."""
        if self._worker is not None:
            self._worker.shutdown(wait=False)

    async def _run(self, sender: VideoSender) -> None:
        try:
            await self._wait_until_ready()
            await sender.run()
            logger.info("The video track has ended after %d pictures", sender.sent)
        except (AudioError, VideoError) as error:
            self._report(error)
        except GeminiError:
            pass  # the session's failure, which the supervisor reports
        except asyncio.CancelledError:
            # The task is in no variable of this frame: with the traceback that would be a cycle,
            # and the source would be closed by the garbage collector, some time.
            if _is_being_cancelled(asyncio.current_task()):
                raise
            # Something that the source waits for was cancelled, not the sender.
            self._report(VideoError("The video track failed: what it waits for was cancelled"))
        except Exception as error:
            failure = VideoError(f"The video track failed ({type(error).__name__}: {error})")
            failure.__cause__ = error
            self._report(failure)
        finally:
            self._frames_sent += sender.sent
            self._frames_rejected += sender.bad
            if self._sender is sender:
                self._sender = None


def _is_being_cancelled(task: Any) -> bool:
    # Before CPython 3.11 a task does not know.
    return task is None or not hasattr(task, "cancelling") or task.cancelling() > 0
