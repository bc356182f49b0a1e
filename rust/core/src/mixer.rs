//! Mixing of many participants into one timeline.

use std::collections::VecDeque;

use crate::{Error, frame_len, ms_to_samples};

/// Sums up to this magnitude pass unchanged: three quarters of full scale, -2.5 dBFS.
const KNEE: f32 = 24_576.0;
/// Room between the knee and full scale.
const HEADROOM: f32 = 32_767.0 - KNEE;

/// Time constants of the level of a stream, in milliseconds: it follows a voice within a frame or
/// two, and bridges the gaps between syllables, which last about 100 ms.
const ATTACK_MS: f32 = 20.0;
const RELEASE_MS: f32 = 200.0;
/// Mean square of -50 dBFS, the least that counts as speaking: far above the noise of a room on a
/// headset, far below quiet speech.
const SPEAKING: f32 = 1e-5;
/// Ratio of mean squares, 3 dB, by which another stream must be louder to become the loudest.
const TAKEOVER: f32 = 2.0;

/// How a [`Mixer`] aligns its streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MixerOptions {
    /// A stream that lags behind another one by more than this, in milliseconds, is not waited for.
    pub max_skew_ms: u32,
    /// Most audio that is queued of each stream, in milliseconds.
    pub capacity_ms: u32,
}

impl Default for MixerOptions {
    fn default() -> Self {
        Self {
            max_skew_ms: 60,
            capacity_ms: 2_000,
        }
    }
}

/// Numbers of a [`Mixer`] since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MixerStats {
    /// Samples that were pushed, over all streams, refused ones included.
    pub pushed: u64,
    /// Samples that went into a frame.
    pub mixed: u64,
    /// Samples that were refused because their stream's queue was full, or that were queued when
    /// their stream was removed.
    pub dropped: u64,
    /// Frames that were popped.
    pub frames: u64,
    /// Times that a stream was left behind because it lagged.
    pub lags: u64,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    queue: VecDeque<i16>,
    /// Frames wait for this stream.
    active: bool,
    /// Samples of the timeline that went by without this stream and may still arrive. They are
    /// mixed late; they do not count as being ahead of the others.
    late: usize,
    /// Smoothed mean square of what was mixed; full scale is 1.
    level: f32,
}

impl Stream {
    /// Adds the next samples to `sums`; returns their mean square.
    fn add_to(&mut self, sums: &mut [i32]) -> f32 {
        let (front, back) = self.queue.as_slices();
        let split = front.len().min(sums.len());
        let (first, second) = sums.split_at_mut(split);
        let mut energy = 0i64;
        for (sums, samples) in [(first, front), (second, back)] {
            for (sum, &x) in sums.iter_mut().zip(samples) {
                let x = i32::from(x);
                *sum += x;
                energy += i64::from(x * x);
            }
        }
        self.queue.drain(..sums.len());
        energy as f32 / (sums.len() as f32 * 32768.0 * 32768.0)
    }

    /// Follows the mean square of the newest frame.
    fn follow(&mut self, power: f32, rates: &Rates) {
        let rate = match power > self.level {
            true => rates.attack,
            false => rates.release,
        };
        self.level += rate * (power - self.level);
        // Leave the numbers that arithmetic is slow with.
        if self.level < 1e-12 {
            self.level = 0.0;
        }
    }
}

/// What a level moves by in a frame, as a part of its distance to the frame's own.
#[derive(Debug, Clone, Copy)]
struct Rates {
    attack: f32,
    release: f32,
}

impl Rates {
    /// A frame lasts 20 ms.
    fn new() -> Self {
        let rate = |ms: f32| 1.0 - (-20.0 / ms).exp();
        Self {
            attack: rate(ATTACK_MS),
            release: rate(RELEASE_MS),
        }
    }
}

/// Mixes any number of streams, all at one rate, into 20 ms frames on one timeline.
///
/// There is no clock in it: the data decides. A frame is ready when every active stream has one.
/// When a stream lags behind another by more than `max_skew_ms` it becomes inactive: frames no
/// longer wait for it until it pushes again. What it pushes then is mixed from there on, nothing
/// is skipped. A single active stream passes through at once and bit-exactly.
///
/// Sums are exact up to three quarters of full scale and bend softly above, so that two loud voices
/// do not clip.
///
/// The mixer knows who speaks. For each stream it keeps a [`level`](Self::level): the mean square of
/// each frame that is mixed, smoothed by `level += (1 - exp(-20 ms / t)) * (frame - level)` with
/// `t` = 20 ms while it rises and 200 ms while it falls; a stream that is left behind falls. The
/// [`loudest`](Self::loudest) stream is the one with the highest level if that is above -50 dBFS; it
/// stays the loudest until another one exceeds it by 3 dB.
///
/// Allocates: when a stream appears, and while queues grow to their usual length.
///
/// ```
/// use voice_audio::{Mixer, MixerOptions};
/// let mut mixer = Mixer::new(16_000, MixerOptions::default())?;
/// let mut frame = [0; 320];
/// mixer.push(1, &[1000; 320]);
/// mixer.push(2, &[-200; 320]);
/// assert!(mixer.pop(&mut frame));
/// assert_eq!(frame, [800; 320]);
/// assert!(!mixer.pop(&mut frame));
/// # Ok::<(), voice_audio::Error>(())
/// ```
#[derive(Debug)]
pub struct Mixer {
    sample_rate: u32,
    frame: usize,
    skew: usize,
    capacity: usize,
    streams: Vec<Stream>,
    sums: Vec<i32>,
    rates: Rates,
    loudest: Option<u64>,
    stats: MixerStats,
}

impl Mixer {
    /// A mixer of streams at `sample_rate` Hz.
    ///
    /// # Errors
    /// [`Error::Rate`], [`Error::FrameRate`] for a rate that has no 20 ms frames,
    /// [`Error::Option`] if the capacity is not above the skew by 40 ms, or above 10 minutes.
    pub fn new(sample_rate: u32, options: MixerOptions) -> Result<Self, Error> {
        let frame = frame_len(sample_rate)?;
        let least = options.max_skew_ms.saturating_add(40);
        if options.capacity_ms < least || options.capacity_ms > 600_000 {
            return Err(Error::Option {
                name: "capacity_ms",
                value: f64::from(options.capacity_ms),
                accepted: "max_skew_ms + 40 to 600000 ms",
            });
        }
        Ok(Self {
            sample_rate,
            frame,
            skew: ms_to_samples(options.max_skew_ms, sample_rate),
            capacity: ms_to_samples(options.capacity_ms, sample_rate),
            streams: Vec::new(),
            sums: vec![0; frame],
            rates: Rates::new(),
            loudest: None,
            stats: MixerStats::default(),
        })
    }

    /// The rate in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Samples of one popped frame.
    pub fn frame_len(&self) -> usize {
        self.frame
    }

    /// Queues samples of a stream; a new id is a new stream. Returns how many were taken: a full
    /// queue refuses the newest.
    pub fn push(&mut self, stream: u64, samples: &[i16]) -> usize {
        let index = match self.streams.iter().position(|s| s.id == stream) {
            Some(index) => index,
            None => {
                self.streams.push(Stream {
                    id: stream,
                    queue: VecDeque::new(),
                    active: false,
                    late: 0,
                    level: 0.0,
                });
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        let taken = samples.len().min(self.capacity - stream.queue.len());
        stream.queue.extend(&samples[..taken]);
        stream.active |= taken > 0;
        self.stats.pushed += samples.len() as u64;
        self.stats.dropped += (samples.len() - taken) as u64;
        taken
    }

    /// Forgets a stream. Returns the number of its samples that were queued and are dropped.
    pub fn remove(&mut self, stream: u64) -> usize {
        let Some(index) = self.streams.iter().position(|s| s.id == stream) else {
            return 0;
        };
        let dropped = self.streams.swap_remove(index).queue.len();
        self.loudest = self.loudest.filter(|&id| id != stream);
        self.stats.dropped += dropped as u64;
        dropped
    }

    /// Mixes the next frame if one is ready; leaves `frame` alone otherwise.
    ///
    /// # Panics
    /// If `frame` is not [`frame_len`](Self::frame_len) samples long.
    pub fn pop(&mut self, frame: &mut [i16]) -> bool {
        assert_eq!(frame.len(), self.frame, "a frame is 20 ms long");
        if !self.ready() {
            return false;
        }
        self.stats.frames += 1;
        self.sums.fill(0);
        let mut voices = 0;
        for stream in &mut self.streams {
            if stream.active {
                let power = stream.add_to(&mut self.sums);
                stream.follow(power, &self.rates);
                // Once nothing more waits than usual, nothing late is still to come.
                stream.late = stream.late.min(stream.queue.len());
                self.stats.mixed += self.frame as u64;
                voices += 1;
            } else {
                stream.late = stream.late.saturating_add(self.frame);
                stream.follow(0.0, &self.rates);
            }
        }
        self.elect();
        match voices {
            1 => frame
                .iter_mut()
                .zip(&self.sums)
                .for_each(|(y, &sum)| *y = sum as i16),
            _ => frame
                .iter_mut()
                .zip(&self.sums)
                .for_each(|(y, &sum)| *y = soften(sum)),
        }
        true
    }

    /// Streams that have pushed and were not removed.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Streams that frames wait for.
    pub fn active_streams(&self) -> usize {
        self.streams.iter().filter(|s| s.active).count()
    }

    /// Smoothed level of a stream in dBFS, as it was in the newest frame: 0 is a square wave at full
    /// scale, -3 a sine; negative infinity is silence. None for a stream that is not known.
    pub fn level(&self, stream: u64) -> Option<f32> {
        self.find(stream).map(|stream| 10.0 * stream.level.log10())
    }

    /// The stream that speaks in the newest frame, the loudest one if there are several.
    pub fn loudest(&self) -> Option<u64> {
        self.loudest
    }

    /// The streams that speak in the newest frame: those above -50 dBFS, in no order.
    pub fn speaking(&self) -> impl Iterator<Item = u64> {
        let speaking = self.streams.iter().filter(|s| s.level > SPEAKING);
        speaking.map(|stream| stream.id)
    }

    fn find(&self, stream: u64) -> Option<&Stream> {
        self.streams.iter().find(|s| s.id == stream)
    }

    /// Chooses the loudest stream after a frame.
    fn elect(&mut self) {
        let holder = self.loudest.and_then(|id| self.find(id));
        let bar = match holder {
            Some(holder) if holder.level > SPEAKING => holder.level * TAKEOVER,
            _ => {
                self.loudest = None;
                SPEAKING
            }
        };
        let best = self
            .streams
            .iter()
            .max_by(|a, b| a.level.total_cmp(&b.level));
        if let Some(best) = best.filter(|best| best.level > bar) {
            self.loudest = Some(best.id);
        }
    }

    /// Numbers since the start.
    pub fn stats(&self) -> MixerStats {
        self.stats
    }

    /// Every active stream has a frame, after those that lag too far behind were left.
    fn ready(&mut self) -> bool {
        let frame = self.frame;
        let lags = |s: &Stream| s.active && s.queue.len() < frame;
        if self.streams.iter().any(lags) {
            let lead = |s: &Stream| s.queue.len().saturating_sub(s.late);
            let furthest = self.streams.iter().filter(|s| s.active).map(lead).max();
            let furthest = furthest.unwrap_or(0);
            for stream in self.streams.iter_mut().filter(|s| lags(s)) {
                if furthest < frame || furthest - stream.queue.len() <= self.skew {
                    return false;
                }
                stream.active = false;
                self.stats.lags += 1;
            }
        }
        self.streams.iter().any(|s| s.active)
    }
}

/// Limits a sum to 16 bits: exact up to the knee, then along a hyperbolic tangent, whose slope at
/// the knee is 1 and which reaches full scale only in the limit.
fn soften(sum: i32) -> i16 {
    let magnitude = sum.unsigned_abs() as f32;
    if magnitude <= KNEE {
        return sum as i16;
    }
    let soft = KNEE + HEADROOM * ((magnitude - KNEE) / HEADROOM).tanh();
    soft.round().copysign(sum as f32) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limiter_is_exact_below_the_knee_then_smooth_monotonic_and_odd() {
        for sum in -24_576..=24_576 {
            assert_eq!(i32::from(soften(sum)), sum);
        }
        let mut last = soften(24_576);
        for sum in 24_577..400_000 {
            let y = soften(sum);
            assert!(y >= last && y - last <= 1, "{sum}");
            assert_eq!(soften(-sum), -y);
            last = y;
        }
        assert_eq!(last, i16::MAX);
    }
}
