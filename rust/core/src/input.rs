//! Capture path of one participant: downmix, resampling, echo suppression, speech detection.

use std::f32::consts::PI;

use crate::echo::{EchoReference, EchoSuppressor, check_time};
use crate::pcm::{self, Sample};
use crate::{Error, Resampler, Vad, VadEvent, VadOptions, ms_to_samples};

/// Length of the crossfade from a stream to its continuation at another rate, in milliseconds.
const CROSSFADE_MS: u32 = 5;
/// Silence of a gap given to the VAD beyond its hangover, in milliseconds.
///
/// The network's probability falls below the threshold within 100 ms of the end of a word.
const GAP_BEYOND_HANGOVER_MS: u32 = 100;

/// Capture path of one participant, from any rate and layout to mono `i16` at the wire rate.
///
/// It also gives the speech events of the participant.
///
/// The rate may change in mid-stream (another microphone, another codec). The samples still in the
/// old filter then fade out over the beginning of the new sound, which fades in over 5 ms: no
/// sample is skipped, the frames keep their length, and there is no step.
///
/// The [`Vad`] processes the wire samples. Offsets of its events count samples at the wire rate
/// from the start of the stream, silence included, so they survive a change of the input's rate.
///
/// A person on a loudspeaker sends back what is played to them. With an [`EchoReference`] and
/// [`expect_echo`](Self::expect_echo) before each push, the stream finds that echo and removes it
/// from the VAD's input and from the wire. The README describes the method, figures and limits.
///
/// Allocates: when the rate changes, while the longest push so far grows, and when an echo is
/// expected for the first time.
///
/// ```
/// use voice_audio::{InputStream, VadOptions};
/// let mut stream = InputStream::new(16_000, VadOptions::default())?;
/// let (mut wire, mut events) = (Vec::new(), Vec::new());
/// stream.push_interleaved(&[0i16; 1920], 48_000, &mut wire, &mut events)?; // 20 ms of stereo
/// assert_eq!(wire.len(), 320);
/// # Ok::<(), voice_audio::Error>(())
/// ```
#[derive(Debug)]
pub struct InputStream {
    wire_rate: u32,
    vad: Vad,
    /// None before the first push.
    resampler: Option<Resampler>,
    crossfade: Crossfade,
    /// Newest resampled sample.
    last: i16,
    /// Samples of the current push at the wire rate, during a crossfade.
    resampled: Vec<f32>,
    /// None until an echo is expected for the first time.
    suppressor: Option<Box<EchoSuppressor>>,
    /// True if the next push may be an echo.
    expects_echo: bool,
}

/// Samples as they lie in memory, mono or stereo.
#[derive(Debug, Clone, Copy)]
pub enum Samples<'a, S> {
    /// One channel.
    Mono(&'a [S]),
    /// Two channels: L, R, L, R, ...
    Interleaved(&'a [S]),
    /// Two channels of equal length.
    Planar(&'a [S], &'a [S]),
}

impl<S: Sample> Samples<'_, S> {
    /// Checks that the channels are complete and of equal length.
    ///
    /// # Errors
    /// [`Error::Channels`] for an odd number of interleaved samples, [`Error::Planes`] for sides of
    /// different length.
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Mono(_) => Ok(()),
            Self::Interleaved(samples) => pcm::pairs(samples).map(|_| ()),
            Self::Planar(left, right) => pcm::check_planes(left, right),
        }
    }

    /// Returns the number of samples per channel.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Mono(samples) | Self::Planar(samples, _) => samples.len(),
            Self::Interleaved(samples) => samples.len() / 2,
        }
    }

    /// Returns true if there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Splits before sample `at` of each channel.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::Mono(samples) => {
                let (now, later) = samples.split_at(at);
                (Self::Mono(now), Self::Mono(later))
            }
            Self::Interleaved(samples) => {
                let (now, later) = samples.split_at(2 * at);
                (Self::Interleaved(now), Self::Interleaved(later))
            }
            Self::Planar(left, right) => {
                let ((a, b), (c, d)) = (left.split_at(at), right.split_at(at));
                (Self::Planar(a, c), Self::Planar(b, d))
            }
        }
    }

    /// Returns the first channel, or both interleaved: enough to tell one packet from another.
    pub(crate) fn first_row(&self) -> &[S] {
        match self {
            Self::Mono(samples) | Self::Interleaved(samples) | Self::Planar(samples, _) => samples,
        }
    }

    fn push_to<O: Sample>(self, resampler: &mut Resampler, out: &mut Vec<O>) {
        match self {
            Self::Mono(samples) => {
                resampler.push(samples, out);
                Ok(())
            }
            Self::Interleaved(samples) => resampler.push_interleaved(samples, out),
            Self::Planar(left, right) => resampler.push_planar(left, right, out),
        }
        .expect("the layout was checked");
    }
}

/// Crossfade from the end of an old stream to the beginning of its continuation.
#[derive(Debug, Default)]
struct Crossfade {
    /// End of the old stream at the wire rate, with its fade-out applied.
    tail: Vec<f32>,
    /// Number of wire samples since the change.
    position: usize,
    /// Number of wire samples until the new filter gives sound: its delay.
    lead: usize,
    /// Number of wire samples from there to the new stream's full level; 0 without a crossfade.
    fade: usize,
}

impl InputStream {
    /// Makes a capture path to a wire of `wire_rate` Hz.
    ///
    /// # Errors
    /// As [`Vad::new`].
    pub fn new(wire_rate: u32, options: VadOptions) -> Result<Self, Error> {
        Ok(Self {
            wire_rate,
            vad: Vad::new(wire_rate, options)?,
            resampler: None,
            crossfade: Crossfade::default(),
            last: 0,
            resampled: Vec::new(),
            suppressor: None,
            expects_echo: false,
        })
    }

    /// Returns the rate of the output in Hz.
    #[must_use]
    pub fn wire_rate(&self) -> u32 {
        self.wire_rate
    }

    /// Returns the rate of the newest input in Hz; None before the first push.
    pub fn input_rate(&self) -> Option<u32> {
        self.resampler.as_ref().map(Resampler::in_rate)
    }

    /// Returns the delay from input to output in output samples, at the current input rate.
    pub fn delay(&self) -> usize {
        self.resampler.as_ref().map_or(0, Resampler::delay)
    }

    /// Returns the probability of speech, 0 to 1, in the newest complete analysis frame.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.vad.probability()
    }

    /// Returns true between [`VadEvent::SpeechStarted`] and [`VadEvent::SpeechStopped`].
    #[must_use]
    pub fn speaking(&self) -> bool {
        self.vad.speaking()
    }

    /// Returns true while there is evidence of speech that has not yet lasted for the onset.
    ///
    /// See [`Vad::starting`].
    #[must_use]
    pub fn starting(&self) -> bool {
        self.vad.starting()
    }

    /// Declares that the next push arrives at `at` and may be an echo of what was played up to now.
    ///
    /// `at` is in seconds on the clock of the reference; jitter is evened out. Blocks of 20 ms (or
    /// the push, if it is shorter) that contain only echo are replaced by noise at the level of the
    /// noise floor, or by silence if that is below -66 dBFS, with fades of 5 ms. All other samples
    /// stay unchanged, and nothing is delayed. The call holds for one push, accepted or refused; a
    /// push without it is never suppressed.
    ///
    /// ```
    /// use voice_audio::{EchoReference, InputStream, VadOptions};
    /// let mut reference = EchoReference::new(48_000, 1_000)?;
    /// let mut stream = InputStream::new(16_000, VadOptions::default())?;
    /// let (mut wire, mut events) = (Vec::new(), Vec::new());
    /// for k in 0..50 {
    ///     let now = 0.02 * f64::from(k);
    ///     reference.push(&[0; 960], now)?; // what is handed to the call
    ///     stream.expect_echo(&reference, now)?;
    ///     stream.push(&[0i16; 960], 48_000, &mut wire, &mut events)?; // what has come from it
    /// }
    /// assert_eq!(stream.echo_delay_ms(), None);
    /// # Ok::<(), voice_audio::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Option`] if `at` is not a finite number of seconds.
    pub fn expect_echo(&mut self, reference: &EchoReference, at: f64) -> Result<(), Error> {
        check_time(at)?;
        let new = || Box::new(EchoSuppressor::new(self.wire_rate, reference));
        self.suppressor
            .get_or_insert_with(new)
            .arrive(reference, at);
        self.expects_echo = true;
        Ok(())
    }

    /// Returns true if the newest block was suppressed as echo.
    #[must_use]
    pub fn echo(&self) -> bool {
        self.suppressor
            .as_ref()
            .is_some_and(|suppressor| suppressor.echo())
    }

    /// Returns the delay of the echo in milliseconds, in steps of 10; None while no echo is known.
    ///
    /// The delay lasts from handing a sample to the transport until its echo arrives.
    #[must_use]
    pub fn echo_delay_ms(&self) -> Option<f64> {
        self.suppressor
            .as_ref()
            .and_then(|suppressor| suppressor.delay_ms())
    }

    /// Returns the echo's level relative to what is played, in dB; None while no echo is known.
    ///
    /// This is the negative of the echo return loss, from 200 to 4000 Hz.
    #[must_use]
    pub fn echo_level_db(&self) -> Option<f32> {
        self.suppressor
            .as_ref()
            .and_then(|suppressor| suppressor.level_db())
    }

    /// Takes mono samples at `sample_rate` Hz; appends wire samples to `out` and VAD events to
    /// `events`.
    ///
    /// # Errors
    /// [`Error::Rate`], [`Error::Ratio`] if the rate cannot be converted to the wire's. The stream
    /// and `out` are then unchanged.
    pub fn push<S: Sample>(
        &mut self,
        samples: &[S],
        sample_rate: u32,
        out: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) -> Result<(), Error> {
        self.push_samples(Samples::Mono(samples), sample_rate, out, events)
    }

    /// Takes samples of any layout; otherwise as [`push`](Self::push).
    ///
    /// # Errors
    /// As [`push`](Self::push), and those of [`Samples::check`].
    pub fn push_samples<S: Sample>(
        &mut self,
        samples: Samples<'_, S>,
        sample_rate: u32,
        out: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) -> Result<(), Error> {
        let expects_echo = std::mem::take(&mut self.expects_echo);
        samples.check()?;
        self.set_rate(sample_rate)?;
        self.resample(samples, expects_echo, out, events);
        Ok(())
    }

    /// Takes interleaved stereo (L, R, L, R, ...); otherwise as [`push`](Self::push).
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Error::Channels`] for an odd number of samples.
    pub fn push_interleaved<S: Sample>(
        &mut self,
        samples: &[S],
        sample_rate: u32,
        out: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) -> Result<(), Error> {
        self.push_samples(Samples::Interleaved(samples), sample_rate, out, events)
    }

    /// Takes planar stereo; otherwise as [`push`](Self::push).
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Error::Planes`] for sides of different length.
    pub fn push_planar<S: Sample>(
        &mut self,
        left: &[S],
        right: &[S],
        sample_rate: u32,
        out: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) -> Result<(), Error> {
        self.push_samples(Samples::Planar(left, right), sample_rate, out, events)
    }

    /// Fills a gap in the capture with `ms` milliseconds of silence.
    ///
    /// The silence is processed like pushed samples; before the first push, at the wire rate.
    pub fn silence(&mut self, ms: u32, out: &mut Vec<i16>, events: &mut Vec<VadEvent>) {
        const ZEROS: [i16; 4096] = [0; 4096];
        let rate = self.input_rate().unwrap_or(self.wire_rate);
        let mut left = ms_to_samples(ms, rate);
        while left > 0 {
            let zeros = &ZEROS[..left.min(ZEROS.len())];
            if self.resampler.is_some() {
                self.resample(Samples::Mono(zeros), false, out, events);
            } else {
                let start = out.len();
                out.extend(zeros);
                self.suppress_and_detect(false, &mut out[start..], events);
            }
            left -= zeros.len();
        }
    }

    /// Skips a gap of `length` wire samples; returns the silent samples given to the VAD.
    ///
    /// `heard` is the part of the gap that the VAD has already processed. It gets at most its
    /// hangover and [`GAP_BEYOND_HANGOVER_MS`] of the gap, after which all speech is over. Appends
    /// to `tail` the samples before the gap that the resampler still held.
    pub(crate) fn skip_gap(
        &mut self,
        length: usize,
        heard: usize,
        tail: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) -> usize {
        const ZEROS: [i16; 4096] = [0; 4096];
        if let Some(resampler) = &mut self.resampler {
            let delay = resampler.delay();
            let start = tail.len();
            // Enough zeros to flush the filter, which is twice its delay long.
            let rates = (u64::from(resampler.in_rate()), u64::from(self.wire_rate));
            let zeros = (2 * delay as u64 * rates.0).div_ceil(rates.1) as usize;
            let mut left = zeros;
            while left > 0 {
                let n = left.min(ZEROS.len());
                resampler.push(&ZEROS[..n], tail);
                left -= n;
            }
            tail.truncate(start + delay.min(length));
        }
        if let Some(suppressor) = &mut self.suppressor {
            suppressor.skip(length);
        }
        let hangover = self.vad.options().hangover_ms;
        let most = ms_to_samples(hangover + GAP_BEYOND_HANGOVER_MS, self.wire_rate);
        let now = length.min(most).saturating_sub(heard);
        self.detect_silence(now, events);
        now
    }

    /// Pushes `length` wire samples of silence to the VAD alone, since nothing has arrived.
    pub(crate) fn detect_silence(&mut self, mut length: usize, events: &mut Vec<VadEvent>) {
        const ZEROS: [i16; 2048] = [0; 2048];
        while length > 0 {
            let n = length.min(ZEROS.len());
            self.vad.push(&ZEROS[..n], events);
            length -= n;
        }
    }

    /// Prepares for input at `sample_rate` Hz.
    ///
    /// # Errors
    /// As [`push`](Self::push). The stream is then unchanged.
    pub(crate) fn prepare(&mut self, sample_rate: u32) -> Result<(), Error> {
        self.set_rate(sample_rate)
    }

    /// Returns the detector.
    pub(crate) fn vad(&self) -> &Vad {
        &self.vad
    }

    /// Resamples checked samples at the current rate to the wire and passes them to the VAD.
    fn resample<S: Sample>(
        &mut self,
        samples: Samples<'_, S>,
        expects_echo: bool,
        out: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) {
        let start = out.len();
        let resampler = self
            .resampler
            .as_mut()
            .expect("there is one since the rate was set");
        if self.crossfade.is_closed() {
            samples.push_to(resampler, out);
        } else {
            self.resampled.clear();
            samples.push_to(resampler, &mut self.resampled);
            self.crossfade.join(&mut self.resampled);
            pcm::convert(&self.resampled, out);
        }
        self.last = out.last().copied().unwrap_or(self.last);
        self.suppress_and_detect(expects_echo, &mut out[start..], events);
    }

    /// Suppresses echo in `wire`, in place, and passes the result to the VAD.
    fn suppress_and_detect(
        &mut self,
        expects_echo: bool,
        wire: &mut [i16],
        events: &mut Vec<VadEvent>,
    ) {
        if let Some(suppressor) = &mut self.suppressor {
            if expects_echo {
                suppressor.suppress(wire);
            } else {
                suppressor.skip(wire.len());
            }
        }
        self.vad.push(wire, events);
    }

    fn set_rate(&mut self, sample_rate: u32) -> Result<(), Error> {
        match &mut self.resampler {
            Some(old) if old.in_rate() == sample_rate => {}
            None => self.resampler = Some(Resampler::new(sample_rate, self.wire_rate)?),
            Some(old) => {
                let new = Resampler::new(sample_rate, self.wire_rate)?;
                let fade = ms_to_samples(CROSSFADE_MS, self.wire_rate);
                self.crossfade
                    .open(old, self.last.to_unit(), new.delay(), fade);
                *old = new;
            }
        }
        Ok(())
    }
}

impl Crossfade {
    fn is_closed(&self) -> bool {
        self.fade == 0
    }

    /// Begins a crossfade from `old`, whose last sample on the wire was `last`.
    ///
    /// The new stream is silent for `lead` samples and fades in for `fade` samples.
    fn open(&mut self, old: &mut Resampler, last: f32, lead: usize, fade: usize) {
        let mut tail: Vec<f32> = Vec::new();
        old.flush(&mut tail);
        // The old stream may itself still be fading in over an older one.
        if !tail.is_empty() {
            self.join(&mut tail);
        } else {
            // A stream that was not filtered ends hard: hold its last value during the fade.
            tail.resize(fade, last);
        }
        // The end of the filter is an edge, too: the fade reaches zero before it.
        let length = tail.len();
        let fading = tail.iter_mut().enumerate();
        fading.for_each(|(i, y)| *y *= 1.0 - raised_cosine(i, length));
        *self = Self {
            tail,
            position: 0,
            lead,
            fade,
        };
    }

    /// Mixes the next wire samples of the new stream with the rest of the old one.
    fn join(&mut self, samples: &mut [f32]) {
        for y in samples {
            let tail = self.tail.get(self.position).copied().unwrap_or(0.0);
            let gain = raised_cosine(self.position.saturating_sub(self.lead), self.fade);
            *y = *y * gain + tail;
            self.position += 1;
        }
        if self.position >= (self.lead + self.fade).max(self.tail.len()) {
            *self = Self::default();
        }
    }
}

/// Returns the gain of a raised-cosine fade-in of `length` samples; 1 after it.
fn raised_cosine(position: usize, length: usize) -> f32 {
    if position < length {
        0.5 - 0.5 * (PI * (position as f32 + 0.5) / length as f32).cos()
    } else {
        1.0
    }
}
