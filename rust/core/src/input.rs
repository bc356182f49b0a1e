//! The way in, for one participant: downmix, resample to the wire, echo, voice activity.

use std::f32::consts::PI;

use crate::echo::{EchoGuard, EchoReference, check_time};
use crate::pcm::{self, Sample};
use crate::{Error, Resampler, Vad, VadEvent, VadOptions, ms_to_samples};

/// Length of the fade between a stream and its continuation at another rate, in milliseconds.
const SEAM_MS: u32 = 5;
/// Silence of a gap that the VAD hears beyond its hangover, in milliseconds: the network's answer
/// falls below its threshold within 100 ms of the end of a word.
const GAP_HEARD_BEYOND_MS: u32 = 100;

/// One participant's capture path: any rate and layout in, mono `i16` at the wire rate out, and
/// the speech events on the way.
///
/// Frames come as they are captured; the rate may change in mid-stream (another microphone, another
/// codec). What the old filter still holds then fades out over the beginning of the new sound, which
/// fades in over 5 ms: no sample in flight is skipped, the frames keep their length, and there is
/// no step.
///
/// The [`Vad`] hears what goes to the wire. Offsets of its events count samples at the wire rate
/// from the start of the stream, silence included, so they survive a change of the input's rate.
///
/// A person on a loudspeaker sends back what is played to them. With an [`EchoReference`] and
/// [`expect_echo`](Self::expect_echo) in front of each push the stream finds that echo and keeps it
/// from the VAD and from the wire. See the README for how, how well, and where it ends.
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
    seam: Seam,
    /// Newest sample on its way to the wire.
    last: i16,
    /// The current push at the wire rate, while it is being joined to the old stream.
    resampled: Vec<f32>,
    /// None while no echo was expected.
    guard: Option<Box<EchoGuard>>,
    /// For the next push.
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
    /// Checks that the channels are whole.
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

    /// Samples of one channel.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Mono(samples) | Self::Planar(samples, _) => samples.len(),
            Self::Interleaved(samples) => samples.len() / 2,
        }
    }

    /// True if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Splits in front of sample `at` of each channel.
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

    /// The first channel, or both of them interleaved: enough to tell one packet from another.
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
struct Seam {
    /// What still sounds of the old stream, at the wire rate.
    tail: Vec<f32>,
    /// Wire samples since the change.
    position: usize,
    /// Wire samples until the new filter speaks: its delay.
    lead: usize,
    /// Wire samples from there until the new stream has its full level; 0 when there is no seam.
    fade: usize,
}

impl InputStream {
    /// A capture path to a wire of `wire_rate` Hz.
    ///
    /// # Errors
    /// As [`Vad::new`].
    pub fn new(wire_rate: u32, options: VadOptions) -> Result<Self, Error> {
        Ok(Self {
            wire_rate,
            vad: Vad::new(wire_rate, options)?,
            resampler: None,
            seam: Seam::default(),
            last: 0,
            resampled: Vec::new(),
            guard: None,
            expects_echo: false,
        })
    }

    /// Rate of the output in Hz.
    #[must_use]
    pub fn wire_rate(&self) -> u32 {
        self.wire_rate
    }

    /// Rate of the newest input in Hz; None before the first push.
    pub fn input_rate(&self) -> Option<u32> {
        self.resampler.as_ref().map(Resampler::in_rate)
    }

    /// Delay from input to output in output samples, at the current input rate.
    pub fn delay(&self) -> f64 {
        self.resampler.as_ref().map_or(0.0, Resampler::delay)
    }

    /// Probability of speech in the newest complete analysis frame, 0 to 1.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.vad.probability()
    }

    /// True between [`VadEvent::SpeechStarted`] and [`VadEvent::SpeechStopped`].
    #[must_use]
    pub fn speaking(&self) -> bool {
        self.vad.speaking()
    }

    /// True while there is evidence of speech that has not lasted for the onset; see
    /// [`Vad::starting`].
    #[must_use]
    pub fn starting(&self) -> bool {
        self.vad.starting()
    }

    /// Declares that the next push arrives at `at` and may be an echo of what was played up to now.
    ///
    /// `at` is in seconds on the clock of the reference; jitter is evened out. Blocks of 20 ms (or
    /// the push, if it is shorter) that are echo and nothing else are replaced by noise as loud as
    /// the background, or by silence if that is below -66 dBFS, with fades of 5 ms. All other
    /// samples stay as they are; there is no delay. It holds for one push, taken or refused: one
    /// that is not announced is left alone.
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
        let new = || Box::new(EchoGuard::new(self.wire_rate, reference));
        self.guard.get_or_insert_with(new).arrive(reference, at);
        self.expects_echo = true;
        Ok(())
    }

    /// True if the newest block was taken for echo.
    #[must_use]
    pub fn echo(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.echo())
    }

    /// Delay of the echo in milliseconds, in steps of 10: from when a sample was handed over to when
    /// it comes back. None while no echo is known.
    #[must_use]
    pub fn echo_delay_ms(&self) -> Option<f64> {
        self.guard.as_ref().and_then(|guard| guard.delay_ms())
    }

    /// Level of the echo relative to what is played, in dB from 200 to 4000 Hz (the negative of the
    /// echo return loss). None while no echo is known.
    #[must_use]
    pub fn echo_level_db(&self) -> Option<f32> {
        self.guard.as_ref().and_then(|guard| guard.level_db())
    }

    /// Takes mono samples at `sample_rate` Hz; appends wire samples to `out` and what the VAD
    /// noticed to `events`.
    ///
    /// # Errors
    /// [`Error::Rate`], [`Error::Ratio`]: the rate cannot be brought to the wire's. The stream is
    /// then unchanged, as is `out`.
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

    /// Fills a gap in the capture with `ms` milliseconds of silence, which go the way of all
    /// samples. Before the first push they are silence at the wire rate.
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
                self.hear(false, &mut out[start..], events);
            }
            left -= zeros.len();
        }
    }

    /// Puts a gap of `length` wire samples into the stream, of which the VAD has heard `heard`
    /// already. Appends to `tail` what the resampler still held of the sound in front of the gap.
    ///
    /// The VAD hears its hangover and [`GAP_HEARD_BEYOND_MS`] of it at most, by which all speech is
    /// over. Returns how many samples it has heard now.
    pub(crate) fn skip_gap(
        &mut self,
        length: usize,
        heard: usize,
        tail: &mut Vec<i16>,
        events: &mut Vec<VadEvent>,
    ) -> usize {
        const ZEROS: [i16; 4096] = [0; 4096];
        if let Some(resampler) = &mut self.resampler {
            let delay = resampler.delay().ceil() as usize;
            let start = tail.len();
            // As many zeros as fill the filter, which is twice its delay long.
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
        if let Some(guard) = &mut self.guard {
            guard.skip(length);
        }
        let hangover = self.vad.options().hangover_ms;
        let most = ms_to_samples(hangover + GAP_HEARD_BEYOND_MS, self.wire_rate);
        let now = length.min(most).saturating_sub(heard);
        self.hear_silence(now, events);
        now
    }

    /// Lets the VAD alone hear silence of `length` wire samples: nothing has arrived for so long.
    pub(crate) fn hear_silence(&mut self, mut length: usize, events: &mut Vec<VadEvent>) {
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

    /// The detector.
    pub(crate) fn vad(&self) -> &Vad {
        &self.vad
    }

    /// Brings checked samples at the current rate to the wire and to the VAD.
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
        if self.seam.is_closed() {
            samples.push_to(resampler, out);
        } else {
            self.resampled.clear();
            samples.push_to(resampler, &mut self.resampled);
            self.seam.join(&mut self.resampled);
            pcm::convert(&self.resampled, out);
        }
        self.last = out.last().copied().unwrap_or(self.last);
        self.hear(expects_echo, &mut out[start..], events);
    }

    /// Takes the echo out of samples for the wire, and lets the VAD hear the rest.
    fn hear(&mut self, expects_echo: bool, wire: &mut [i16], events: &mut Vec<VadEvent>) {
        if let Some(guard) = &mut self.guard {
            if expects_echo {
                guard.guard(wire)
            } else {
                guard.skip(wire.len())
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
                let fade = ms_to_samples(SEAM_MS, self.wire_rate);
                self.seam
                    .open(old, self.last.to_unit(), new.delay() as usize, fade);
                *old = new;
            }
        }
        Ok(())
    }
}

impl Seam {
    fn is_closed(&self) -> bool {
        self.fade == 0
    }

    /// Begins a seam: `old` has given its last sample, whose value on the wire was `last`; the new
    /// stream is silent for `lead` samples and rises for `fade`.
    fn open(&mut self, old: &mut Resampler, last: f32, lead: usize, fade: usize) {
        let mut tail: Vec<f32> = Vec::new();
        old.flush(&mut tail);
        // The old stream may itself still be in the seam behind an older one.
        if !tail.is_empty() {
            self.join(&mut tail);
        } else {
            // A copied stream ends hard: its last value stands in for the sound that follows.
            tail.resize(fade, last);
        }
        // The filter's end is an edge like any other: the fade reaches zero in front of it.
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

    /// Joins the next wire samples of the new stream to what is left of the old one.
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

/// A rise from 0 to 1 over `length` samples; 1 behind them.
fn raised_cosine(position: usize, length: usize) -> f32 {
    if position < length {
        0.5 - 0.5 * (PI * (position as f32 + 0.5) / length as f32).cos()
    } else {
        1.0
    }
}
