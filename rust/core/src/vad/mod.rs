//! Voice activity detection with onset and hangover.

mod network;
mod spectrum;

use std::fmt;

use crate::pcm::Sample;
use crate::simd::Level;
use crate::{Error, Resampler, check_rate};
use network::State;
use spectrum::WINDOW;

/// Input rate of the network in Hz.
const RATE: u32 = 16_000;
/// Number of samples of an analysis frame at [`RATE`]: 16 ms.
const FRAME: usize = 256;
/// Length of an analysis frame in milliseconds.
const FRAME_MS: u32 = FRAME as u32 * 1_000 / RATE;
/// Peak below which a window is silence, whatever the network says: 8 units of `i16`, -72 dBFS.
///
/// It is far below any microphone's own noise, and far above the dither of a codec's silence.
const SILENCE_PEAK: f32 = 8.0 / 32768.0;
/// Peak below which the network gets exact silence: -120 dBFS.
///
/// The network gets the noise between this and [`SILENCE_PEAK`]: without it, the network takes the
/// next sound for speech more readily.
const ZERO_PEAK: f32 = 1e-6;
/// Number of frames whose energies are remembered: 128 ms.
const ENERGY_FRAMES: usize = 8;
/// Ratio over the least remembered energy from which a frame may begin speech: 3 dB.
///
/// Few frames of a steady sound reach it; speech at the level of its background noise does.
const RISE_RATIO: f32 = 2.0;
/// Hysteresis: speech ends below the threshold less this, but not below [`MIN_END_THRESHOLD`].
///
/// The values are those of Silero's own iterator (`neg_threshold`).
const HYSTERESIS: f32 = 0.15;
const MIN_END_THRESHOLD: f32 = 0.01;
/// Range below the loudest frame in which a frame counts as spoken: 20 dB, as a power ratio.
const SPOKEN_RANGE: f32 = 0.01;

/// Options of a [`Vad`]; there may be more of them in a later version.
///
/// ```
/// use voice_audio::VadOptions;
/// let options = VadOptions::default().with_threshold(0.6).with_hangover_ms(500);
/// assert_eq!((options.threshold, options.onset_ms), (0.6, 16));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct VadOptions {
    /// Probability, 0 to 1, from which an analysis frame begins speech.
    ///
    /// Speech continues while the probability is at most 0.15 below the threshold. The default,
    /// 0.5, is Silero's.
    pub threshold: f32,
    /// Duration in milliseconds for which speech must last before it is reported.
    ///
    /// Rounded up to whole analysis frames of 16 ms. 0 means the first frame, and so does the
    /// default: the network waits as long as it needs by itself, and ignores clicks.
    pub onset_ms: u32,
    /// Duration in milliseconds without speech after which speech has ended.
    ///
    /// Rounded up to whole frames. The default bridges the gaps inside words.
    pub hangover_ms: u32,
}

impl Default for VadOptions {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            onset_ms: 16,
            hangover_ms: 200,
        }
    }
}

impl VadOptions {
    /// Sets [`threshold`](Self::threshold).
    #[must_use]
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets [`onset_ms`](Self::onset_ms).
    #[must_use]
    pub fn with_onset_ms(mut self, onset_ms: u32) -> Self {
        self.onset_ms = onset_ms;
        self
    }

    /// Sets [`hangover_ms`](Self::hangover_ms).
    #[must_use]
    pub fn with_hangover_ms(mut self, hangover_ms: u32) -> Self {
        self.hangover_ms = hangover_ms;
        self
    }
}

/// Speech event of a [`Vad`].
///
/// Offsets count samples at the rate of its input, from the first sample after the start or the
/// last reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VadEvent {
    /// Speech has lasted for `onset_ms`.
    SpeechStarted {
        /// Start of the 32 ms window in which the speech was first detected.
        sample: u64,
    },
    /// No speech for `hangover_ms`.
    SpeechStopped {
        /// End of the last frame with speech: the first sample after it.
        sample: u64,
    },
}

/// Streaming voice activity detector: mono, any rate from 8 to 96 kHz, any frame length.
///
/// The network of Silero VAD 6 (its weights are part of the crate) gives a probability for each
/// 16 ms of sound; onset and hangover turn the probabilities into [`VadEvent`]s. Input at another
/// rate than 16 kHz is resampled, and the resampler's delay is subtracted from the offsets.
///
/// The network steps by 32 ms, so the probability of every second frame is its own output. Speech
/// need not wait for that step: in the frame between, if there was no speech before and the level
/// rises, the network looks ahead at the 32 ms up to there, on a copy of its state. That output
/// counts twice in a mean with the previous one, so a single look-ahead has to be confident; the
/// state keeps nothing of it.
///
/// With an onset of more than one frame, the first frame of speech sets
/// [`starting`](Self::starting); speech without a gap for `onset_ms` turns it into
/// [`VadEvent::SpeechStarted`] and [`speaking`](Self::speaking). A caller that must not miss the
/// first syllable acts on `starting`, and reverts that if it ends without the event.
///
/// Digital silence (36 ms below -72 dBFS) is never speech; zeros cost half as much as sound.
///
/// Allocates: in [`new`](Self::new), then only while the longest push so far grows.
///
/// ```
/// use voice_audio::{Vad, VadOptions};
/// let mut vad = Vad::new(48_000, VadOptions::default())?;
/// let mut events = Vec::new();
/// vad.push(&[0i16; 48_000], &mut events);
/// assert!(events.is_empty() && !vad.speaking());
/// # Ok::<(), voice_audio::Error>(())
/// ```
pub struct Vad {
    sample_rate: u32,
    options: VadOptions,
    onset_frames: u32,
    hangover_frames: u32,
    /// None if the input is at 16 kHz.
    resampler: Option<Resampler>,
    /// Samples of the current push at [`RATE`].
    resampled: Vec<f32>,
    /// Boxed: the detector needs the alignment of a cache line.
    ///
    /// Not every owner of a `Vad` can give it; the allocator of Python objects cannot.
    detector: Box<Detector>,
    /// Number of samples in the current analysis frame, at the end of the detector's window.
    filled: usize,
    /// Number of complete analysis frames so far.
    frames: u64,
    /// Consecutive frames of speech, up to the newest.
    run: u32,
    /// Consecutive frames without speech, up to the newest.
    gap: u32,
    /// Frames since speech began, up to the newest; counted while speaking.
    lasted: u32,
    /// Frames from the beginning of the speech to its newest loud frame; see [`Vad::spoken_ms`].
    spoken: u32,
    /// Energy of the loudest frame of the current run or speech.
    loudest: f32,
    speaking: bool,
}

/// Network, its state and its window: takes analysis frames and gives probabilities.
struct Detector {
    level: Level,
    /// Newest samples, ending with the current analysis frame.
    window: [f32; WINDOW],
    state: State,
    /// Output of the network's newest step.
    answer: f32,
    /// True if the current frame completes a step.
    steps: bool,
    /// Ring of the energies of the newest frames.
    energies: [f32; ENERGY_FRAMES],
    newest: usize,
    /// Probability of speech in the newest complete frame.
    probability: f32,
}

impl Detector {
    fn new() -> Self {
        network::prepare();
        Self {
            level: Level::detect(),
            window: [0.0; WINDOW],
            state: State::ZERO,
            answer: 0.0,
            steps: false,
            energies: [0.0; ENERGY_FRAMES],
            newest: 0,
            probability: 0.0,
        }
    }

    /// Returns the current analysis frame, to be filled.
    fn frame(&mut self) -> &mut [f32] {
        &mut self.window[WINDOW - FRAME..]
    }

    /// Computes the probability of the current frame, which is full, and makes room for the next.
    fn process_frame(&mut self, threshold: f32) {
        let rises = self.level_rises();
        let peak = peak(&self.window);
        let silent = peak < SILENCE_PEAK;
        if self.steps {
            self.answer = if peak < ZERO_PEAK {
                network::infer_silence(self.level, &mut self.state)
            } else {
                network::infer(self.level, &self.window, &mut self.state)
            };
            if silent {
                self.answer = 0.0;
            }
        }
        self.probability = if silent {
            0.0
        } else if !self.steps && self.answer < threshold && rises {
            let ahead = network::infer(self.level, &self.window, &mut self.state.clone());
            (2.0 * ahead + self.answer) / 3.0
        } else {
            self.answer
        };
        self.steps = !self.steps;
        self.window.copy_within(FRAME.., 0);
    }

    /// Returns the energy of the newest complete frame.
    fn energy(&self) -> f32 {
        self.energies[self.newest]
    }

    /// Records the energy of the current frame; returns true if the level rises.
    fn level_rises(&mut self) -> bool {
        let energy = energy(self.frame());
        let least = self.energies.iter().copied().fold(f32::MAX, f32::min);
        self.newest = (self.newest + 1) % ENERGY_FRAMES;
        self.energies[self.newest] = energy;
        energy > RISE_RATIO * least
    }
}

/// Returns the largest magnitude, computed in lanes.
fn peak(window: &[f32; WINDOW]) -> f32 {
    let (rows, _) = window.as_chunks::<16>();
    let mut peaks = [0.0f32; 16];
    for row in rows {
        for (peak, x) in peaks.iter_mut().zip(row) {
            *peak = peak.max(x.abs());
        }
    }
    peaks.into_iter().fold(0.0, f32::max)
}

/// Returns the sum of squares, computed in lanes.
fn energy(frame: &[f32]) -> f32 {
    let (rows, _) = frame.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for row in rows {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x * x;
        }
    }
    sums.iter().sum()
}

impl Vad {
    /// Makes a detector for input at `sample_rate` Hz.
    ///
    /// # Errors
    /// [`Error::Rate`] or [`Error::Ratio`] for a rate that cannot be converted to 16 kHz,
    /// [`Error::Option`] for a threshold outside of 0 to 1 or a duration above a minute.
    pub fn new(sample_rate: u32, options: VadOptions) -> Result<Self, Error> {
        check_rate(sample_rate)?;
        if !(0.0..=1.0).contains(&options.threshold) {
            return Err(Error::Option {
                name: "threshold",
                value: f64::from(options.threshold),
                accepted: "a probability from 0 to 1",
            });
        }
        for (name, ms) in [
            ("onset_ms", options.onset_ms),
            ("hangover_ms", options.hangover_ms),
        ] {
            if ms > 60_000 {
                return Err(Error::Option {
                    name,
                    value: f64::from(ms),
                    accepted: "0 to 60000 ms",
                });
            }
        }
        let frames = |ms: u32| (ms * RATE / 1000).div_ceil(FRAME as u32).max(1);
        Ok(Self {
            sample_rate,
            options,
            onset_frames: frames(options.onset_ms),
            hangover_frames: frames(options.hangover_ms),
            resampler: match sample_rate {
                RATE => None,
                _ => Some(Resampler::new(sample_rate, RATE)?),
            },
            resampled: Vec::new(),
            detector: Box::new(Detector::new()),
            filled: 0,
            frames: 0,
            run: 0,
            gap: 0,
            lasted: 0,
            spoken: 0,
            loudest: 0.0,
            speaking: false,
        })
    }

    /// Returns the rate of the input in Hz.
    #[must_use]
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Returns the options as given.
    #[must_use]
    pub fn options(&self) -> VadOptions {
        self.options
    }

    /// Returns the probability of speech, 0 to 1, in the newest complete analysis frame of 16 ms.
    ///
    /// It is 0 before the first frame.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.detector.probability
    }

    /// Returns true between [`VadEvent::SpeechStarted`] and [`VadEvent::SpeechStopped`].
    #[must_use]
    pub fn speaking(&self) -> bool {
        self.speaking
    }

    /// Returns true while the newest frames are speech, but not yet for `onset_ms`.
    ///
    /// This first evidence either becomes [`VadEvent::SpeechStarted`] or ends without an event. It
    /// is never true with an onset of one frame.
    #[must_use]
    pub fn starting(&self) -> bool {
        !self.speaking && self.run > 0
    }

    /// Returns the duration of the current speech in milliseconds, without the hangover.
    ///
    /// It lasts from the start of the speech to the end of its newest frame of speech, and is 0
    /// while nobody speaks. A frame that is quieter than the loudest one by more than 20 dB does
    /// not count: the network still reports speech for up to 110 ms after a word.
    #[must_use]
    pub fn spoken_ms(&self) -> u32 {
        if self.speaking {
            self.spoken * FRAME_MS
        } else {
            0
        }
    }

    /// Returns the milliseconds since the end of the newest frame of speech, in whole frames.
    pub(crate) fn silent_ms(&self) -> u32 {
        self.gap.saturating_mul(FRAME_MS)
    }

    /// Takes samples and appends speech events to `events`.
    pub fn push<S: Sample>(&mut self, input: &[S], events: &mut Vec<VadEvent>) {
        match &mut self.resampler {
            None => self.process(input, events),
            Some(resampler) => {
                let mut resampled = std::mem::take(&mut self.resampled);
                resampled.clear();
                resampler.push(input, &mut resampled);
                self.process(&resampled, events);
                self.resampled = resampled;
            }
        }
    }

    /// Ends the stream: appends [`VadEvent::SpeechStopped`] if speech is under way, at the end of its
    /// last frame of speech, and starts anew as [`reset`](Self::reset) does.
    ///
    /// The last, incomplete frame (up to 16 ms) is not judged.
    pub fn flush(&mut self, events: &mut Vec<VadEvent>) {
        if self.speaking {
            let sample = self.offset(self.frames - u64::from(self.gap));
            events.push(VadEvent::SpeechStopped { sample });
        }
        self.reset();
    }

    /// Resets the detector; offsets count from zero again.
    pub fn reset(&mut self) {
        *self.detector = Detector::new();
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
        self.filled = 0;
        self.frames = 0;
        self.run = 0;
        self.gap = 0;
        self.lasted = 0;
        self.spoken = 0;
        self.loudest = 0.0;
        self.speaking = false;
    }

    fn process<S: Sample>(&mut self, mut input: &[S], events: &mut Vec<VadEvent>) {
        while !input.is_empty() {
            let (now, later) = input.split_at(input.len().min(FRAME - self.filled));
            for (slot, x) in self.detector.frame()[self.filled..].iter_mut().zip(now) {
                // The network expects ±1; resampled full-scale sound may overshoot a little.
                *slot = x.to_unit().clamp(-1.0, 1.0);
            }
            self.filled += now.len();
            input = later;
            if self.filled == FRAME {
                self.filled = 0;
                self.detector.process_frame(self.options.threshold);
                self.decide(events);
            }
        }
    }

    fn decide(&mut self, events: &mut Vec<VadEvent>) {
        let threshold = if self.speaking {
            let least = self.options.threshold.min(MIN_END_THRESHOLD);
            (self.options.threshold - HYSTERESIS).max(least)
        } else {
            self.options.threshold
        };
        let probability = self.detector.probability;
        self.frames += 1;
        let speech = probability >= threshold && probability > 0.0;
        if speech {
            self.run += 1;
            self.gap = 0;
        } else {
            self.run = 0;
            self.gap = self.gap.saturating_add(1);
        }
        self.lasted = self.lasted.saturating_add(1);
        if !self.speaking && self.run >= self.onset_frames {
            self.speaking = true;
            self.lasted = self.run;
            // The first frame of the run completed a window that began one frame earlier.
            let sample = self.offset((self.frames - u64::from(self.run)).saturating_sub(1));
            events.push(VadEvent::SpeechStarted { sample });
        } else if self.speaking && self.gap >= self.hangover_frames {
            self.speaking = false;
            let sample = self.offset(self.frames - u64::from(self.gap));
            events.push(VadEvent::SpeechStopped { sample });
        }
        if !self.speaking && self.run == 0 {
            (self.loudest, self.spoken) = (0.0, 0);
        } else if speech {
            let energy = self.detector.energy();
            self.loudest = self.loudest.max(energy);
            if energy >= self.loudest * SPOKEN_RANGE {
                self.spoken = if self.speaking { self.lasted } else { self.run };
            }
        }
    }

    /// Returns the offset, in input samples, of the start of analysis frame number `frame`.
    fn offset(&self, frame: u64) -> u64 {
        let delay = self.resampler.as_ref().map_or(0, |r| r.delay() as u64);
        let heard = (frame * FRAME as u64).saturating_sub(delay);
        heard * u64::from(self.sample_rate) / u64::from(RATE)
    }
}

impl fmt::Debug for Vad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vad")
            .field("sample_rate", &self.sample_rate)
            .field("options", &self.options)
            .field("speaking", &self.speaking)
            .field("probability", &self.probability())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::network::tests::{probabilities, signal};
    use super::*;

    // See `Vad::detector`.
    const _: () = assert!(align_of::<Vad>() <= 16);

    /// Returns a detector's probabilities, one for each frame.
    fn frames(signal: &[f32], threshold: f32) -> Vec<f32> {
        let mut detector = Detector::new();
        let frames = signal.chunks_exact(FRAME);
        frames
            .map(|frame| {
                detector.frame().copy_from_slice(frame);
                detector.process_frame(threshold);
                detector.probability
            })
            .collect()
    }

    #[test]
    fn every_second_frame_is_the_answer_of_the_network() {
        let signal = signal();
        let want = probabilities(Level::detect(), &signal);
        let got = frames(&signal, 1.0);
        let silent = |k: usize| {
            let window = &signal[(512 * k).saturating_sub(64)..512 * (k + 1)];
            window.iter().all(|x| x.abs() < SILENCE_PEAK)
        };
        let mut silences = 0;
        for (k, &want) in want.iter().enumerate() {
            // Looking ahead does not change the state.
            if silent(k) {
                silences += 1
            } else {
                assert!((got[2 * k + 1] - want).abs() < 1e-6, "step {k}")
            }
            assert!(!silent(k) || got[2 * k + 1] == 0.0);
        }
        assert!(silences > 10);
        let looks = (1..want.len()).filter(|&k| got[2 * k] != got[2 * k - 1]);
        assert!(looks.count() > 20);
        // The detector does not look ahead during speech.
        let got = frames(&signal, 0.0);
        assert!((1..want.len()).all(|k| silent(k) || got[2 * k] == got[2 * k - 1]));
    }

    #[test]
    fn the_way_through_silence_changes_no_answer() {
        let sound = &signal()[..40_000];
        // Digital silence, and two units of noise.
        for peak in [0, 2] {
            let silence: Vec<f32> = (0..100 * 512)
                .map(|i| ((i * 7919 % 5) - 2).clamp(-peak, peak) as f32 / 32_768.0)
                .collect();
            let whole = [sound, &silence, sound].concat();
            let network = probabilities(Level::detect(), &whole);
            let detector = frames(&whole, 1.0);
            for k in (sound.len() + silence.len()).div_ceil(512)..network.len() {
                let (got, want) = (detector[2 * k + 1], network[k]);
                assert!((got - want).abs() < 1e-4, "step {k}: {got} for {want}");
            }
        }
    }

    #[test]
    fn silence_after_sound_leaves_no_subnormal_numbers() {
        let mut detector = Detector::new();
        let sound = &signal()[..40_000];
        // 100 s; the slowest unit of the network settles within a second.
        let silence = vec![0.0; 100 * RATE as usize];
        for frame in [sound, &silence].concat().chunks_exact(FRAME) {
            detector.frame().copy_from_slice(frame);
            detector.process_frame(0.5);
            let mut state = detector.state.values().chain(detector.energies);
            assert!(state.all(|x| !x.is_subnormal()));
        }
        assert_eq!(detector.probability, 0.0);
    }

    fn vad(onset_ms: u32, hangover_ms: u32) -> Vad {
        Vad::new(
            RATE,
            VadOptions {
                onset_ms,
                hangover_ms,
                ..VadOptions::default()
            },
        )
        .unwrap()
    }

    #[test]
    fn durations_round_up_to_whole_frames() {
        for (ms, frames) in [(0, 1), (1, 1), (16, 1), (17, 2), (32, 2), (200, 13)] {
            assert_eq!(vad(ms, ms).onset_frames, frames, "{ms} ms");
            assert_eq!(vad(ms, ms).hangover_frames, frames, "{ms} ms");
        }
    }

    #[test]
    fn options_outside_of_their_range_are_refused() {
        for threshold in [-0.1, 1.1, f32::NAN] {
            let options = VadOptions {
                threshold,
                ..VadOptions::default()
            };
            assert!(matches!(
                Vad::new(RATE, options),
                Err(Error::Option {
                    name: "threshold",
                    ..
                })
            ));
        }
        let options = VadOptions {
            hangover_ms: 60_001,
            ..VadOptions::default()
        };
        assert!(Vad::new(RATE, options).is_err());
        assert!(matches!(
            Vad::new(4_000, VadOptions::default()),
            Err(Error::Rate { rate: 4_000 })
        ));
    }
}
