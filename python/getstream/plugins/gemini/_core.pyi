"""The audio core in Rust. Use it through `getstream.plugins.gemini.audio`.

Conventions, for every class here:

Audio in:
    `_Pcm16`: an int16 array of shape `(n,)` or `(1, n)`, of any memory layout, or little-endian
    16-bit bytes (`bytes`, `bytearray`, `memoryview`). Mono. `n` may be anything, zero too.
Audio out:
    A new int16 array of shape `(n,)` that belongs to the caller.
Units:
    Sample rates are Hz, 8000 to 96000. Samples are counted per channel. A frame is 20 ms.
Base64:
    Text out is the standard alphabet, padded (`bytes`, ready for a websocket frame). Text in is
    `str` or bytes in the standard or the URL-safe alphabet, padded exactly or not at all; nothing
    else is taken: no white space, no mixture, no bits behind the last byte.
Threads:
    Every object may be used from several threads; calls on one object are done one after the
    other. Calls on up to a second of audio keep the GIL, longer ones release it.
Errors:
    `AudioError` (a `ValueError`) for a dtype, shape, rate, option, base64 text or odd number of
    bytes that cannot be used. The object is then as it was before the call. `TypeError` and
    `OverflowError` as usual, for arguments that are not numbers and for numbers below zero where a
    turn or a stream is named.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias, final, overload

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Capture",
    "CaptureEvent",
    "EchoReference",
    "InputStream",
    "Mixer",
    "Playback",
    "PlaybackStats",
    "Resampler",
    "SourceStats",
    "SpeechStarted",
    "SpeechStopped",
    "TurnStats",
    "Vad",
    "__version__",
    "build_profile",
    "decode_base64",
    "encode_base64",
    "websocket_frame",
    "websocket_payload",
]

_Pcm16: TypeAlias = NDArray[np.int16] | bytes | bytearray | memoryview
_Base64: TypeAlias = str | bytes | bytearray | memoryview
_SpeechEvent: TypeAlias = SpeechStarted | SpeechStopped

__version__: str
"""Version of the core, the same as the package's."""

build_profile: Literal["debug", "release"]
"""How the core was compiled. A debug build is correct, and many times slower."""

def encode_base64(pcm: _Pcm16, prefix: bytes = b"", suffix: bytes = b"") -> bytes:
    """Return `prefix`, the base64 of `pcm` as little-endian 16-bit PCM, and `suffix`.

    With the two halves of a JSON message around it, one call makes one text frame.

    Raises:
        AudioError: `pcm` cannot be used, or has an odd number of bytes.
    """

def decode_base64(text: _Base64) -> bytes:
    """Return the bytes that base64 text stands for.

    Raises:
        AudioError: It is not base64; the message names the place and the fault.
    """

def websocket_frame(payload: bytes) -> bytes:
    """Return `payload` as the masked text frame that a websocket client sends (RFC 6455, 5.2).

    Of this package alone, not of its public face. One frame is one message, without extensions.
    The masking key is new in each call and comes from the operating system's randomness; so a frame
    is for one sending: what has to be sent again is framed again.

    Args:
        payload: UTF-8, which is not checked.

    Raises:
        OSError: The operating system gives no random bytes.
    """

def websocket_payload(frame: bytes) -> bytes:
    """Return the payload of a frame that `websocket_frame` has made.

    Raises:
        ValueError: It is not one whole masked text frame; the message names the place and the
            fault.
    """

@final
class Resampler:
    """A streaming resampler between two sample rates, mono or stereo to mono.

    A polyphase windowed sinc of 100 dB. State carries over from push to push: a stream may be cut
    anywhere, the output is the same bit for bit. 32-bit float arithmetic, rounded once, saturating,
    without dither; silence stays exactly zero. Equal rates copy.

    Two presets, in units of the Nyquist frequency of the lower rate, both flat within 0.001 dB:

    ======= ========= ========= ============== ============== =====
    quality pass-band stop-band 48 to 16 kHz   24 to 48 kHz   cost
    ======= ========= ========= ============== ============== =====
    voice   to 0.90   from 1.10 2.06 ms        1.375 ms       1
    music   to 0.95   from 1.00 8.25 ms        5.48 ms        3 - 4
    ======= ========= ========= ============== ============== =====

    Refused are pairs of rates that need more than 1024 filters, `out_rate / gcd(in_rate,
    out_rate)`: memory and design time grow with them. So these always work: multiples of 100 Hz on
    both sides; multiples of 50 Hz, to at most 51.2 kHz; multiples of 16, 24 or 48 Hz to 16, 24 or
    48 kHz. Of the rates in use (8, 11.025, 12, 16, 22.05, 24, 32, 44.1, 48, 88.2 and 96 kHz) two
    pairs are refused: 11.025 kHz to 32 and to 96 kHz.

    The filters of a pair are designed once and shared by the process, which keeps up to 64 banks
    and 32 MiB of them. Other threads run meanwhile: 0.01 to 5 ms for common rates, about 2 s at
    worst.
    """

    def __new__(
        cls, in_rate: int, out_rate: int, *, quality: Literal["voice", "music"] = "voice"
    ) -> Resampler:
        """Set up a resampler.

        Args:
            in_rate: Rate of the input in Hz.
            out_rate: Rate of the output in Hz.
            quality: `"voice"` for the shortest delay, `"music"` for the widest band.

        Raises:
            AudioError: A rate is not within 8 to 96 kHz, or the pair is refused
                (`out_rate / gcd(in_rate, out_rate)` exceeds 1024), or the quality is unknown.
        """

    @overload
    def push(self, samples: _Pcm16, channels: int = 1) -> NDArray[np.int16]:
        """Resample the next piece of the stream: int16 in, int16 out.

        After `n` samples in all, exactly `ceil(n * out_rate / in_rate)` have been returned: 20 ms
        in is 20 ms out, delayed by `delay`, and nothing else is held back.

        Args:
            samples: Shape `(n,)` or `(1, n)`: mono, or interleaved stereo with `channels=2`.
                `(2, n)`: planar stereo, whatever `channels` says. Bytes: mono or interleaved. Of
                stereo the mean is resampled, formed at full precision.
            channels: 1 or 2.

        Raises:
            AudioError: Dtype, shape or channels cannot be used, or a number of bytes or of
                interleaved samples is odd. The stream is then unchanged.
        """

    @overload
    def push(self, samples: NDArray[np.float32], channels: int = 1) -> NDArray[np.float32]:
        """The same in float32: full scale is 1.0, NaN counts as 0, nothing is rounded."""

    @overload
    def flush(self) -> NDArray[np.int16]:
        """Return the tail, `delay` samples, and start anew.

        The output with its tail, less its first `delay` samples, lasts exactly as long as the
        input. Empty if nothing was pushed. The object can be used again at once.

        Args:
            dtype: Format of the tail, `"int16"` or `"float32"`.

        Raises:
            AudioError: The format is unknown.
        """

    @overload
    def flush(self, dtype: Literal["int16"]) -> NDArray[np.int16]:
        """The same, with the format by name."""

    @overload
    def flush(self, dtype: Literal["float32"]) -> NDArray[np.float32]:
        """The same, for a stream of float32."""

    def reset(self) -> None:
        """Forget everything pushed so far, as if newly made."""

    @property
    def in_rate(self) -> int:
        """Rate of the input in Hz."""

    @property
    def out_rate(self) -> int:
        """Rate of the output in Hz."""

    @property
    def delay(self) -> int:
        """Constant delay from input to output in output samples; 0 for equal rates."""

    @property
    def quality(self) -> Literal["voice", "music"]:
        """As given."""

    @property
    def kernel(self) -> str:
        """The instruction set that computes: "AVX-512", "AVX2", "NEON" or "scalar".

        Chosen when the object is made. `scalar` differs from the others by at most one unit.
        """

@final
class SpeechStarted:
    """Speech has lasted for `onset_ms`."""

    def __new__(cls, sample: int) -> SpeechStarted: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def sample(self) -> int:
        """Offset of the first sample of the run of speech, from the start of the stream."""

@final
class SpeechStopped:
    """No speech was heard for `hangover_ms`."""

    def __new__(cls, sample: int) -> SpeechStopped: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    @property
    def sample(self) -> int:
        """Offset of the end of the last frame with speech, from the start of the stream."""

@final
class Vad:
    """A streaming voice activity detector.

    The network of Silero VAD 6 (inside, nothing is downloaded) gives a probability for each
    analysis frame of 16 ms; onset and hangover turn them into events. Every second frame is
    Silero's own answer, the one between a look ahead where speech may begin. Digital silence (below
    -72 dBFS) is never speech. Input at another rate than 16 kHz is resampled inside. Offsets of
    events count samples of the input, with the delay of that resampler taken out.
    """

    def __new__(
        cls,
        sample_rate: int = 16000,
        *,
        threshold: float = 0.5,
        onset_ms: int = 16,
        hangover_ms: int = 200,
    ) -> Vad:
        """Set up a detector.

        Args:
            sample_rate: Rate of the input in Hz.
            threshold: Probability, 0 to 1, from which an analysis frame begins speech; once it has
                begun, a frame is speech down to 0.15 less. Silero's default.
            onset_ms: Speech lasts this long before it is reported. Rounded up to whole analysis
                frames, at least one, which is the default: the network does not fall for clicks.
            hangover_ms: Speech is over when none was heard for this long; rounded likewise.

        Raises:
            AudioError: An option is out of range (a duration may be a minute at most).
        """

    def push(self, pcm: _Pcm16) -> list[_SpeechEvent]:
        """Listen to the next piece of the stream; mostly returns an empty list."""

    def reset(self) -> None:
        """Forget everything heard so far; offsets count from zero again."""

    @property
    def probability(self) -> float:
        """Probability of speech, 0 to 1, in the newest complete analysis frame."""

    @property
    def speaking(self) -> bool:
        """True from `SpeechStarted` to `SpeechStopped`."""

    @property
    def starting(self) -> bool:
        """True while the newest frames are speech, but not yet for `onset_ms`.

        The first evidence: it either becomes `SpeechStarted` or was nothing.
        """

    @property
    def sample_rate(self) -> int:
        """Rate of the input in Hz."""

    @property
    def threshold(self) -> float:
        """As given."""

    @property
    def onset_ms(self) -> int:
        """As given."""

    @property
    def hangover_ms(self) -> int:
        """As given."""

@final
class PlaybackStats:
    """Numbers of a `Playback` since it was made, in samples at the input rate.

    Always `pushed == played + dropped + queued`.
    """

    @property
    def pushed(self) -> int:
        """Samples that were pushed, refused ones included."""

    @property
    def played(self) -> int:
        """Samples that the read head has passed, fades included."""

    @property
    def dropped(self) -> int:
        """Samples that were refused or flushed."""

    @property
    def overflowed(self) -> int:
        """Of the dropped ones: refused because the store was full."""

    @property
    def queued(self) -> int:
        """Samples that wait."""

    @property
    def underruns(self) -> int:
        """Times that a turn ran dry before it had ended."""

    @property
    def concealed(self) -> int:
        """Samples made up to fade out a sound whose end was not foreseen; not among the played."""

    @property
    def frames(self) -> int:
        """Frames that were popped."""

    @property
    def prefill_ms(self) -> int:
        """What the next start needs, as adapted so far, if chunks are as long as the last."""

@final
class TurnStats:
    """Numbers of one turn, in samples at the input rate.

    Always `pushed == played + dropped + queued`.
    """

    @property
    def turn(self) -> int:
        """The turn."""

    @property
    def pushed(self) -> int:
        """Samples that were pushed, refused ones included."""

    @property
    def played(self) -> int:
        """Samples that the read head has passed, fades included."""

    @property
    def dropped(self) -> int:
        """Samples that were refused or flushed."""

    @property
    def queued(self) -> int:
        """Samples that wait."""

    @property
    def underruns(self) -> int:
        """Times that it ran dry before it had ended."""

    @property
    def ended(self) -> bool:
        """No more audio of this turn is accepted."""

    @property
    def cut(self) -> bool:
        """It was flushed."""

    @property
    def finished(self) -> bool:
        """It has ended and nothing of it is queued."""

@final
class Playback:
    """A playback store: bursts of speech in, a steady stream of 20 ms frames out.

    Minutes deep and tagged with turns, which are numbers that grow. Audio for a newer turn ends
    the older ones; audio for a turn that has ended or was flushed is refused and counted.

    Every edge is faded by a raised cosine: start, end, underrun, pause, resume, flush, and the seam
    between two turns. A fade that is reversed half-way goes on from the gain it had reached.
    Samples of a turn that is not cut are played exactly once and in order.

    A turn that is refilled before its last sample was played sounds as if all of it had been there.
    When nothing has come by then, linear prediction continues it under the fade.

    A turn begins to speak when `prefill_ms` of it are queued or it has ended. When it runs dry
    before its end, an underrun is counted and the prefill doubles, up to `max_prefill_ms`; each
    turn without an underrun halves it again. Nothing waits for ever: when no audio of a turn has
    come for `patience_ms`, what is queued plays, however little it is.

    With the times of the pushes (`at`) it learns how the service delivers. Once 16 steps between
    chunks have shown that it keeps ahead of the listener, turns start with what their first chunk
    brings, if that is 20 ms at least. This trust ends with an underrun, or a chunk that would have
    come too late for such a start; four turns without bring it back. After an underrun, or while
    the service is slower than real time, the prefill is at least what the lateness seen needs.
    """

    def __new__(
        cls,
        input_rate: int = 24000,
        output_rate: int = 48000,
        *,
        capacity_ms: int = 1_800_000,
        prefill_ms: int = 60,
        max_prefill_ms: int = 240,
        patience_ms: int = 300,
        fade_ms: int = 5,
        echo: EchoReference | None = None,
    ) -> Playback:
        """Set up an empty store.

        Args:
            input_rate: Rate of the pushed audio in Hz, a multiple of 50.
            output_rate: Rate of the popped frames in Hz, a multiple of 50.
            capacity_ms: Most audio that is queued, 20 ms to 24 hours. Memory is taken as needed.
            prefill_ms: Audio that is queued before a turn speaks, at most `capacity_ms`.
            max_prefill_ms: Where the doubling of the prefill ends; at or below `prefill_ms` the
                prefill is fixed.
            patience_ms: Time without another push of a turn after which what is queued of it plays
                with less than the prefill: it may be whole, its end declared late or never. It
                counts by the times given to `push` and `pop`; without them, in popped frames.
            fade_ms: Length of every fade, 1 to 20 ms.
            echo: Given what `pop` returns; of the same rate as `output_rate`.

        Raises:
            AudioError: A rate or an option is out of range.
        """

    def push(self, pcm: _Pcm16, turn: int, at: float | None = None) -> int:
        """Queue audio of a turn.

        Args:
            pcm: Mono, of any length.
            turn: The turn it belongs to.
            at: When it came, in seconds on any clock that only goes forward, the one of `pop`.
                Without it nothing is learnt about the service.

        Returns:
            The number of samples accepted, counted from the first. The rest was refused and
            counted as dropped: the store is full, or the turn has ended or was flushed.

        Raises:
            AudioError: `pcm` cannot be used, or `at` is not a finite number of seconds. Nothing is
                queued then.
        """

    def push_base64(self, text: _Base64, turn: int, at: float | None = None) -> int:
        """Queue audio of a turn that comes as the base64 of little-endian 16-bit PCM.

        Args:
            text: The base64.
            turn: As in `push`.
            at: As in `push`.

        Returns:
            As `push`.

        Raises:
            AudioError: It is not base64, has an odd number of bytes, or `at` is not a finite number
                of seconds. Nothing is queued then.
        """

    def end_turn(self, turn: int) -> None:
        """Declare that no more audio of this turn, or an older one, will come."""

    def begin(self) -> None:
        """Start the turn at the read head with what is queued of it, if anything is.

        It does not wait for its prefill.
        """

    def pass_time(self, at: float) -> None:
        """Let time pass without a pop, so that a turn whose time has come starts.

        For a player that pops no silence; `starts_at` says when to call it.

        Args:
            at: The time in seconds, on the clock of `pop`.

        Raises:
            AudioError: `at` is not a finite number of seconds.
        """

    def pop_frame(self) -> NDArray[np.int16]:
        """Return the next 20 ms at the output rate, always full: speech, fades or silence."""

    def pop(
        self, at: float, under: bytes | None = None
    ) -> tuple[bytes, bool, Literal["silent", "starved", "sound"], tuple[tuple[int, bool], ...]]:
        """Pop the next 20 ms, and give them to the echo reference, in one call.

        Args:
            at: When the frame is played, in seconds, on the clock of `push`. A turn whose
                `patience_ms` are over starts; and it is the time for the echo reference.
            under: Another frame, int16 in the machine's byte order, to which this one is added; a
                sum beyond full scale saturates. The echo reference is given the sum.

        Returns:
            The samples, int16 in the machine's byte order; whether they sound (False: exact
            silence, and no `under`); what `next_frame` is now; and what `take_progress` would
            return.

        Raises:
            AudioError: `at` is not a finite number of seconds, or `under` has another length than a
                frame. Nothing is popped then.
        """

    def take_progress(self) -> tuple[tuple[int, bool], ...]:
        """Return the turns that have begun or ended at the read head since the last call, in order.

        Returns:
            Pairs: `(turn, False)` when its first sample has been played, `(turn, True)` when such a
            turn has been played to its end, or was cut.
        """

    def pause(self) -> None:
        """Fade out over the next samples, which count as played, then stand still."""

    def resume(self) -> None:
        """Go on with the very next sample, faded in."""

    def fade_in(self) -> None:
        """Declare that the listener has heard silence since the last frame, popped too late.

        The next audible frame is faded in; nothing is skipped.
        """

    def duck(self, db: float) -> None:
        """Set the gain, reached by a ramp of 10 ms; `duck(0.0)` undoes it.

        Args:
            db: Gain in decibels, zero or negative. `-math.inf` mutes.

        Raises:
            AudioError: `db` is positive or NaN.
        """

    def flush(self) -> int:
        """Drop everything queued and cut every turn mentioned so far.

        If speech is audible, what its fade still needs (5 ms) is kept and played. Whether the read
        head is paused does not change.

        Returns:
            The number of samples dropped.
        """

    def clear(self) -> int:
        """Drop everything at once, without a fade, and cut every turn mentioned so far.

        For when nobody hears it any more: the next frame is exact silence. Whether the read head is
        paused does not change, nor the gain.

        Returns:
            The number of samples dropped.
        """

    def flush_turn(self, turn: int) -> int:
        """Drop what is queued of one turn, and cut it; other turns stay as they are.

        An open turn stays open, whether the one that is cut is older or newer. A turn may be cut
        before its first sample has come; it is the newest one then, and turns between it and the
        open one are refused.

        Returns:
            The number of samples dropped.
        """

    def played_ms(self, turn: int) -> float:
        """Milliseconds of a turn that the read head has passed.

        Exact at the read head; a popped frame is behind it by the resampler's 1.375 ms. 0.0 for an
        unknown turn; the last 64 finished turns are remembered.
        """

    def turn_stats(self, turn: int) -> TurnStats | None:
        """Numbers of one turn; None if it is not known, or was forgotten."""

    def stats(self) -> PlaybackStats:
        """Numbers since the start."""

    @property
    def level_ms(self) -> float:
        """Milliseconds of audio that are queued."""

    @property
    def active_turn(self) -> int | None:
        """The turn at the read head: the oldest one that has not finished."""

    @property
    def state(self) -> Literal["idle", "buffering", "playing", "paused"]:
        """What it does: nothing to say, too little to speak, speaking, held by `pause`."""

    @property
    def next_frame(self) -> Literal["silent", "starved", "sound"]:
        """What the next frame would be.

        `silent`: exact silence, it need not be popped. `starved`: the end, less than 20 ms, of what
        there is of a turn that goes on; an underrun, unless more is pushed before it has to be
        popped. `sound`: speech, a fade or the resampler's tail.
        """

    @property
    def starts_at(self) -> float | None:
        """When a turn that waits for its prefill starts without it, on the clock of `pop`.

        In seconds; None when no turn waits for that.
        """

    @property
    def audible(self) -> bool:
        """True while the next frame would carry speech, a fade or the resampler's tail.

        False means that the frame would be exact silence, and need not be popped.
        """

    @property
    def input_rate(self) -> int:
        """Rate of the pushed audio in Hz."""

    @property
    def output_rate(self) -> int:
        """Rate of the popped frames in Hz."""

@final
class Mixer:
    """Sums aligned 20 ms frames with a soft limit.

    One voice, or one voice among silent ones, passes bit for bit. Sums of several are exact to
    three quarters of full scale and bend softly above. Alignment in time is the caller's; see
    `Capture`.
    """

    def __new__(cls, sample_rate: int = 16000) -> Mixer:
        """Set up a mixer.

        Args:
            sample_rate: Rate of the frames in Hz, a multiple of 50.

        Raises:
            AudioError: The rate is out of range.
        """

    def mix(self, frames: Sequence[_Pcm16]) -> NDArray[np.int16]:
        """Return the sum of frames of one moment; silence without any.

        Raises:
            AudioError: A frame is not int16, or not 20 ms long.
        """

    @property
    def sample_rate(self) -> int:
        """The rate in Hz."""

_Due: TypeAlias = tuple[list[tuple[bytes, bool]], list[CaptureEvent], float, float | None, bool]

@final
class CaptureEvent:
    """One change of a source's speech.

    For each source they alternate: `starting` is followed by `dismissed` or `started`, `started` by
    `stopped`, with one `sustained` between them at most.
    """

    @property
    def source(self) -> int:
        """The number of the source."""

    @property
    def phase(self) -> Literal["starting", "dismissed", "started", "sustained", "stopped"]:
        """First evidence of speech; it was nothing; it is speech; it has lasted; it is over."""

@final
class SourceStats:
    """Statistics of one source of a `Capture`, in milliseconds unless stated otherwise."""

    @property
    def pushed_ms(self) -> float:
        """Audio that arrived."""

    @property
    def played_ms(self) -> float:
        """Audio sent to the wire."""

    @property
    def skipped_ms(self) -> float:
        """Silence skipped between talk spurts, to reduce the delay."""

    @property
    def inserted_ms(self) -> float:
        """Silence inserted between talk spurts, to increase the delay."""

    @property
    def lost_ms(self) -> float:
        """Audio of talk spurts lost by the network, according to the timestamps."""

    @property
    def duplicate_ms(self) -> float:
        """Audio of duplicate packets."""

    @property
    def late_ms(self) -> float:
        """Audio of reordered packets discarded because their successors had been sent."""

    @property
    def overflow_ms(self) -> float:
        """Audio discarded because the jitter buffer was full (10 s)."""

    @property
    def underrun_ms(self) -> float:
        """Audio of talk spurts missing at playout time because nothing had arrived."""

    @property
    def unsent_ms(self) -> float:
        """Audio not sent because another source had the floor."""

    @property
    def suppressed_ms(self) -> float:
        """Audio suppressed as the agent's own voice."""

    @property
    def queued_ms(self) -> float:
        """Audio queued now."""

    @property
    def delay_ms(self) -> float:
        """Current delay of playout relative to the fastest path."""

    @property
    def depth_ms(self) -> float:
        """Target delay of playout, which the source's jitter requires."""

    @property
    def abandoned(self) -> int:
        """Number of talk spurts without whose rest the wire went on."""

    @property
    def rejected_timestamps(self) -> int:
        """Number of timestamps ignored as implausible."""

@final
class Capture:
    """Capture side of a call: frames of many sources in, one wire stream and speech events out.

    It has no clock and no thread: time is an argument, in seconds on a monotonic clock. `push`
    takes a received packet; `advance` lets time pass. Both return the due output: a tuple of

    - the wire's 20 ms frames, each with whether it is silence,
    - the speech events,
    - the milliseconds suppressed as the agent's own voice,
    - when to call `advance` if nothing is pushed before; None while nothing is due by time,
    - whether it has ended after these frames: nobody sends any more, and `tail_ms` of silence have
      followed the last speech. The next packet opens it again.

    A source is one track of one person, and has a resampler, a `Vad`, an echo suppressor and a
    jitter buffer of its own on the clock of the wire. No source's jitter, stalls, absence,
    timestamps or clock lose or repeat a sample of another. The crate's documentation has the rules.
    """

    def __new__(
        cls,
        wire_rate: int = 16000,
        *,
        envelope: tuple[bytes, bytes] | None = None,
        websocket: bool = False,
        threshold: float = 0.5,
        onset_ms: int = 16,
        hangover_ms: int = 200,
        sustained_ms: int = 600,
        tail_ms: int = 2000,
        active_speaker: bool = False,
        preroll_ms: int = 300,
        echo: EchoReference | None = None,
    ) -> Capture:
        """Set up a capture without sources.

        Args:
            wire_rate: Rate of the wire in Hz, a multiple of 50.
            envelope: Text in front of the base64 of a frame, and after it. None gives frames as
                bytes of s16le PCM.
            websocket: True to frame and mask that, as `websocket_frame` does.
            threshold: See `Vad`.
            onset_ms: See `Vad`.
            hangover_ms: See `Vad`.
            sustained_ms: Speech duration that is reported as `sustained`, without hangover and
                without missing audio.
            tail_ms: Silence after the last speech, when nobody sends any more.
            active_speaker: Send only the source that has the floor: the first speaker keeps it
                until the end of their speech, then it goes to whoever speaks.
            preroll_ms: Pre-roll of a source that takes the floor.
            echo: Reference of the sound that is played to the sources.

        Raises:
            AudioError: The rate or an option is out of range.
        """

    def push(
        self,
        source: int,
        samples: _Pcm16 | NDArray[np.float32],
        sample_rate: int,
        channels: int,
        at: float,
        pts: float | None = None,
        muted: bool = False,
    ) -> _Due:
        """Take a packet of a source; a new number is a new source.

        Args:
            source: Number of the source.
            samples: As of `InputStream.push`, of any length.
            sample_rate: Rate of `samples` in Hz.
            channels: 1 or 2.
            at: Time of arrival in seconds.
            pts: Time of the first sample in seconds, on the sender's clock. It identifies gaps,
                order and copies, as far as the clock agrees.
            muted: True to treat the packet as silence.

        Raises:
            AudioError: As of `InputStream.push`, or there are 4,096 sources already. The source is
                then unchanged.
        """

    def advance(self, at: float) -> _Due:
        """Let time pass until `at`, in seconds.

        Raises:
            AudioError: `at` is not a finite number.
        """

    def remove(self, source: int) -> _Due:
        """End a source and its speech. Its queued audio is still sent."""

    def open(self, source: int, kind: Literal["voice", "sound"]) -> None:
        """Add a source. A `sound`, such as that of a shared screen, is sent without events.

        Raises:
            AudioError: The kind is neither, or there are 4,096 sources already.
        """

    def stats(self, source: int) -> SourceStats | None:
        """Return the statistics of a source; None if it is unknown."""

    def echo_delay_ms(self, source: int) -> float | None:
        """Return the delay of the echo that a source sends back; None while none is known."""

    @property
    def sources(self) -> list[int]:
        """The sources that are known."""

    @property
    def is_open(self) -> bool:
        """True while frames are due by time."""

    @property
    def behind_ms(self) -> float:
        """Time by which the wire is behind its clock; negative when it is ahead."""

    @property
    def wire_rate(self) -> int:
        """Rate of the wire in Hz."""

@final
class EchoReference:
    """What is played to a call, for the `InputStream`s that may hear it come back.

    Frames are pushed as they are handed to the transport. Those of a run of speech follow each
    other whatever the times say; one that comes 60 ms late or later begins a new run, behind
    silence. While nothing is played nothing needs to be pushed. One reference serves all streams
    of a call.

    Of the sound only the power in each of 32 bands (200 to 4000 Hz) and 10 ms is kept, for as long
    as an echo may take.
    """

    def __new__(cls, sample_rate: int = 48000, *, max_delay_ms: int = 1000) -> EchoReference:
        """Set up a reference of silence.

        Args:
            sample_rate: Rate of the frames in Hz.
            max_delay_ms: Longest delay of an echo that is found, 100 to 2000 ms.

        Raises:
            AudioError: The rate or the delay is out of range.
        """

    def push(self, pcm: _Pcm16, at: float) -> None:
        """Take the next samples that are played.

        Args:
            pcm: Mono, of any length; 20 ms in practice.
            at: When the first of them was handed over: seconds on any clock that only goes
                forward, the same one that `InputStream.push` is given.

        Raises:
            AudioError: `pcm` cannot be used, or `at` is not a finite number of seconds. Nothing is
                changed then.
        """

    @property
    def sample_rate(self) -> int:
        """Rate of the frames in Hz."""

    @property
    def max_delay_ms(self) -> int:
        """Longest delay of an echo that is found, in milliseconds."""

@final
class InputStream:
    """One participant's way in: any rate and layout in, mono at the wire rate out, and a `Vad`.

    The rate and the layout may change in mid-stream: the old filter rings out over the beginning
    of the new sound, which is faded in over 5 ms. Frames keep their length.

    Offsets of events count samples at the wire rate since the start, silence included.

    A person on a loudspeaker sends back what is played to them. With `echo` and the times of
    arrival the stream finds that echo, by how the powers in 32 bands move on both sides, usually
    within 0.3 s. From then on blocks of 20 ms that are echo and nothing else are replaced by noise
    as loud as the background (by silence if that is below -66 dBFS), with fades of 5 ms, before the
    VAD and before the wire. All other samples stay as they are, and there is no delay. Somebody who
    speaks over the echo is heard where they exceed it.
    """

    def __new__(
        cls,
        wire_rate: int = 16000,
        *,
        threshold: float = 0.5,
        onset_ms: int = 16,
        hangover_ms: int = 200,
        echo: EchoReference | None = None,
    ) -> InputStream:
        """Set up a stream.

        Args:
            wire_rate: Rate of the output in Hz.
            threshold: See `Vad`.
            onset_ms: See `Vad`.
            hangover_ms: See `Vad`.
            echo: What is played to this participant.

        Raises:
            AudioError: The rate or an option is out of range.
        """

    def push(
        self,
        samples: _Pcm16 | NDArray[np.float32],
        sample_rate: int,
        channels: int = 1,
        at: float | None = None,
    ) -> tuple[NDArray[np.int16], list[_SpeechEvent]]:
        """Take the next piece of the stream.

        Args:
            samples: int16, or float32 with full scale at 1.0. Shape `(n,)`: mono, or interleaved
                stereo with `channels=2`. `(1, n)`: the same. `(2, n)`: planar stereo, whatever
                `channels` says. Bytes: little-endian int16, mono or interleaved.
            sample_rate: Rate of `samples` in Hz.
            channels: 1 or 2.
            at: When they arrived, in seconds on the clock of the reference; jitter is evened out.
                None: no echo is expected, and the samples are left alone, as they are without a
                reference.

        Returns:
            The samples for the wire (20 ms in is 20 ms out, at a constant delay) and the events of
            the VAD, which hears what goes to the wire.

        Raises:
            AudioError: Dtype, shape, rate or channels cannot be used, or a number of bytes or of
                interleaved samples is odd, or `at` is not a finite number of seconds. The stream is
                then unchanged.
        """

    def silence(self, ms: int) -> tuple[NDArray[np.int16], list[_SpeechEvent]]:
        """Fill a gap in the capture, of ten minutes at most; returns as `push` does.

        Raises:
            AudioError: `ms` is negative, or too long.
        """

    @property
    def wire_rate(self) -> int:
        """Rate of the output in Hz."""

    @property
    def input_rate(self) -> int | None:
        """Rate of the newest input in Hz; None before the first push."""

    @property
    def delay(self) -> int:
        """Delay from input to output in output samples, at the current input rate."""

    @property
    def probability(self) -> float:
        """Probability of speech, 0 to 1, in the newest complete analysis frame."""

    @property
    def speaking(self) -> bool:
        """True from `SpeechStarted` to `SpeechStopped`."""

    @property
    def starting(self) -> bool:
        """True while the newest frames are speech, but not yet for `onset_ms`.

        The first evidence: it either becomes `SpeechStarted` or was nothing.
        """

    @property
    def echo(self) -> bool:
        """True if the newest block was taken for echo."""

    @property
    def echo_delay_ms(self) -> float | None:
        """Delay of the echo in steps of 10 ms; None while no echo is known.

        From when a sample was handed over to when it comes back.
        """

    @property
    def echo_level_db(self) -> float | None:
        """Level of the echo relative to what is played, in dB; None while no echo is known.

        From 200 to 4000 Hz; the negative of the echo return loss.
        """
