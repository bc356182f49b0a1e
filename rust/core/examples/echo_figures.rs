//! Measures the echo suppressor on fixed synthetic calls, and prints JSON lines.
//!
//! ```text
//! cargo run --release -p voice-audio --example echo_figures -- VOICES [FOLDS]
//! ```
//!
//! `VOICES` is a folder of recordings: 16 kHz, mono, 16 bit. Each line is one fold, an independent
//! draw of delays, voices, rooms and noise; the same fold is the same sound in every run, so two
//! builds of the suppressor can be compared fold by fold. `benches/echo_constants.py` does that for
//! each constant of the suppressor and explains the figures. Levels are those of `benches/echo.py`:
//! the assistant speaks at -20 dBFS, a person at -22 dBFS.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::f32::consts::PI;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use hound::WavReader;
use voice_audio::{EchoReference, InputStream, Resampler, VadEvent, VadOptions};

const RATE: u32 = 16_000;
const CALL_RATE: u32 = 48_000;
/// Samples of a frame of 20 ms at the wire's and at the call's rate.
const FRAME: usize = 320;
const CALL_FRAME: usize = 960;
const ASSISTANT_DBFS: f32 = -20.0;
const PERSON_DBFS: f32 = -22.0;
/// Level of a quiet microphone's own noise.
const QUIET_DBFS: f32 = -72.0;

/// A linear congruential generator (Knuth's MMIX constants); its upper bits are used.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.unit();
        }
        random
    }

    /// Draws a number from 0 to 1.
    fn unit(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u32 << 24) as f32
    }

    fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f32) as usize % n
    }
}

/// A recording at one playback speed.
struct Voice {
    /// Number of the recording, the same at every speed.
    recording: usize,
    samples: Vec<f32>,
}

/// Reads the recordings of a folder, each at three speeds: 0.84, 1 and 1.19.
fn read_voices(folder: &Path) -> Result<Vec<Voice>, Box<dyn Error>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|x| x == "wav"));
    paths.sort();
    if paths.len() < 2 {
        return Err("at least two recordings are needed".into());
    }
    let mut voices = Vec::new();
    for (recording, path) in paths.iter().enumerate() {
        let mut reader = WavReader::open(path)?;
        if reader.spec().sample_rate != RATE || reader.spec().channels != 1 {
            return Err("recordings must be mono at 16 kHz".into());
        }
        let samples: Vec<f32> = reader
            .samples::<i16>()
            .map(|x| x.map(|x| f32::from(x) / 32_768.0))
            .collect::<Result<_, _>>()?;
        for speed in [1.0, 0.84, 1.19] {
            voices.push(Voice {
                recording,
                samples: stretch(&samples, speed),
            });
        }
    }
    Ok(voices)
}

/// Plays a sound at another speed, by linear interpolation.
fn stretch(x: &[f32], speed: f64) -> Vec<f32> {
    (0..((x.len() - 1) as f64 / speed) as usize)
        .map(|i| {
            let at = i as f64 * speed;
            let part = at.fract() as f32;
            x[at as usize] * (1.0 - part) + x[at as usize + 1] * part
        })
        .collect()
}

/// Repeats a voice with pauses of 0.5 s, from a random place on, at a level in dBFS.
fn spoken(voice: &Voice, seconds: f32, dbfs: f32, random: &mut Random) -> Vec<f32> {
    let period = voice.samples.len() + RATE as usize / 2;
    let start = random.below(period);
    let n = (seconds * RATE as f32) as usize;
    let sound = (start..start + n)
        .map(|i| voice.samples.get(i % period).copied().unwrap_or(0.0))
        .collect();
    at_level(sound, dbfs)
}

fn power(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum::<f32>() / x.len().max(1) as f32
}

fn powers(x: &[f32]) -> Vec<f32> {
    x.chunks(FRAME).map(power).collect()
}

fn gain_of(db: f32) -> f32 {
    10f32.powf(db / 20.0)
}

/// Scales a sound so that its frames within 30 dB of the loudest have a mean power of `dbfs`.
fn at_level(mut x: Vec<f32>, dbfs: f32) -> Vec<f32> {
    let powers = powers(&x);
    let most = powers.iter().copied().fold(0.0, f32::max);
    let loud: Vec<f32> = powers.into_iter().filter(|&p| p > most / 1e3).collect();
    let mean = loud.iter().sum::<f32>() / loud.len().max(1) as f32;
    let gain = gain_of(dbfs) / mean.max(1e-20).sqrt();
    x.iter_mut().for_each(|x| *x *= gain);
    x
}

/// Passes a sound through a loudspeaker: no bass below 300 Hz, soft clipping.
fn loudspeaker(x: &[f32]) -> Vec<f32> {
    let keep = (-2.0 * PI * 300.0 / RATE as f32).exp();
    let scale = gain_of(ASSISTANT_DBFS) / 1.5;
    let mut low = [0.0f32; 2];
    x.iter()
        .map(|&x| {
            low[0] = keep * low[0] + (1.0 - keep) * x;
            let y = x - low[0];
            low[1] = keep * low[1] + (1.0 - keep) * y;
            scale * ((y - low[1]) / scale).tanh()
        })
        .collect()
}

/// Draws the reflections of a room that decays by 60 dB in `seconds`: (delay in samples, gain).
fn room(seconds: f32, random: &mut Random) -> Vec<(usize, f32)> {
    let mut taps = vec![(0, 1.0)];
    if seconds > 0.0 {
        for _ in 0..48 {
            let at = random.within(0.003, seconds);
            let gain = random.within(-0.4, 0.4) * gain_of(-60.0 * at / seconds);
            taps.push(((at * RATE as f32) as usize, gain));
        }
    }
    taps
}

fn reflected(x: &[f32], taps: &[(usize, f32)]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    for &(delay, gain) in taps {
        for (y, x) in y[delay.min(x.len())..].iter_mut().zip(x) {
            *y += gain * x;
        }
    }
    y
}

fn delayed(x: &[f32], ms: f32) -> Vec<f32> {
    let n = ((ms * RATE as f32 / 1000.0) as usize).min(x.len());
    let mut y = vec![0.0; n];
    y.extend(&x[..x.len() - n]);
    y
}

fn sum(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

fn pcm(x: &[f32]) -> Vec<i16> {
    x.iter().map(|x| (x * 32_768.0).round() as i16).collect()
}

/// Adds the microphone's noise, white, and rounds to 16 bits.
fn captured(x: &[f32], noise_dbfs: f32, random: &mut Random) -> Vec<i16> {
    // The sum of two uniform numbers from -1 to 1 has a power of 2/3.
    let gain = gain_of(noise_dbfs) * 1.5f32.sqrt();
    let noisy: Vec<f32> = x
        .iter()
        .map(|x| x + gain * (random.within(-1.0, 1.0) + random.within(-1.0, 1.0)))
        .collect();
    pcm(&noisy)
}

/// Disturbances of a link: the jitter of both sides, and the lost captured frames.
#[derive(Clone, Copy)]
struct Link {
    played_jitter_s: f64,
    jitter_s: f64,
    lost: (usize, usize),
}

const CLEAN: Link = Link {
    played_jitter_s: 0.003,
    jitter_s: 0.005,
    lost: (0, 0),
};

/// One participant's stream in a call.
struct Call {
    reference: EchoReference,
    stream: InputStream,
    events: Vec<VadEvent>,
    random: Random,
    tick: usize,
}

impl Call {
    fn new() -> Self {
        Self {
            reference: EchoReference::new(CALL_RATE, 1_000).expect("valid"),
            stream: InputStream::new(RATE, VadOptions::default()).expect("valid"),
            events: Vec::new(),
            random: Random::new(11),
            tick: 0,
        }
    }

    /// Plays a frame of 48 kHz and captures one of 16 kHz; true if speech began in it.
    fn step(&mut self, far: &[i16], near: &[i16], link: Link, wire: &mut Vec<i16>) -> bool {
        let now = 1_000.0 + 0.02 * self.tick as f64;
        let handed = now + link.played_jitter_s * f64::from(self.random.unit());
        let arrived = now + 0.02 + link.jitter_s * f64::from(self.random.unit());
        if far.iter().any(|&x| x != 0) {
            self.reference.push(far, handed).expect("a time");
        }
        self.tick += 1;
        if near.is_empty() {
            return false;
        }
        self.events.clear();
        self.stream
            .expect_echo(&self.reference, arrived)
            .expect("a time");
        self.stream
            .push(near, RATE, wire, &mut self.events)
            .expect("the wire's rate");
        let starts = |event: &VadEvent| matches!(event, VadEvent::SpeechStarted { .. });
        self.events.iter().any(starts)
    }
}

/// Result of a captured stream, frame by frame.
#[derive(Default)]
struct Heard {
    wire: Vec<i16>,
    suppressed: Vec<bool>,
    starts: Vec<usize>,
    /// First frame with a known delay.
    found: Option<usize>,
    delay_ms: Option<f64>,
}

fn run(far: &[f32], near: &[i16], link: Link) -> Heard {
    let mut far48 = Vec::new();
    Resampler::new(RATE, CALL_RATE)
        .expect("valid")
        .push(&pcm(far), &mut far48);
    far48.resize(far.len() * 3, 0);
    let (mut call, mut heard) = (Call::new(), Heard::default());
    for (k, (far, near)) in far48.chunks(CALL_FRAME).zip(near.chunks(FRAME)).enumerate() {
        let lost = (link.lost.0..link.lost.1).contains(&k);
        let near = if lost { &[] } else { near };
        if call.step(far, near, link, &mut heard.wire) {
            heard.starts.push(k);
        }
        if lost {
            heard.wire.resize(heard.wire.len() + FRAME, 0);
        }
        heard.suppressed.push(lost || call.stream.echo());
        if heard.found.is_none() && call.stream.echo_delay_ms().is_some() {
            heard.found = Some(k);
        }
    }
    heard.delay_ms = call.stream.echo_delay_ms();
    heard
}

/// Function that records the figures of one call.
type Note = Box<dyn Fn(&Heard, &mut Figures)>;

/// A call that is ready to run.
struct Take {
    far: Vec<f32>,
    near: Vec<i16>,
    link: Link,
    note: Note,
}

impl Take {
    fn new(
        far: Vec<f32>,
        near: Vec<i16>,
        link: Link,
        note: impl Fn(&Heard, &mut Figures) + 'static,
    ) -> Self {
        let note = Box::new(note);
        Self {
            far,
            near,
            link,
            note,
        }
    }

    fn run(&self, figures: &mut Figures) {
        (self.note)(&run(&self.far, &self.near, self.link), figures);
    }
}

/// Finds the first start of speech of a person without an assistant, from a frame on.
fn onset_alone(near: &[i16], from: usize) -> Option<usize> {
    let mut stream = InputStream::new(RATE, VadOptions::default()).expect("valid");
    let (mut wire, mut events) = (Vec::new(), Vec::new());
    for (k, frame) in near.chunks(FRAME).enumerate() {
        events.clear();
        stream
            .push(frame, RATE, &mut wire, &mut events)
            .expect("the wire's rate");
        let starts = |event: &VadEvent| matches!(event, VadEvent::SpeechStarted { .. });
        if k >= from && events.iter().any(starts) {
            return Some(k);
        }
    }
    None
}

/// Sums and numbers of what is averaged.
#[derive(Default)]
struct Figures(BTreeMap<&'static str, (f64, f64)>);

impl Figures {
    fn add(&mut self, name: &'static str, value: f64) {
        let (sum, count) = self.0.entry(name).or_default();
        *sum += value;
        *count += 1.0;
    }

    /// Counts frames of `which` that `hit`, in percent.
    fn share(&mut self, name: &'static str, frames: impl Iterator<Item = (bool, bool)>) {
        for (which, hit) in frames {
            if which {
                self.add(name, if hit { 100.0 } else { 0.0 });
            }
        }
    }

    fn print(&self) {
        let cells: Vec<String> = self
            .0
            .iter()
            .map(|(name, (sum, count))| format!("\"{name}\": {:.5}", sum / count))
            .collect();
        println!("{{{}}}", cells.join(", "));
    }
}

/// Draws an assistant and a person of another recording.
fn pair<'a>(voices: &'a [Voice], random: &mut Random) -> (&'a Voice, &'a Voice) {
    let assistant = &voices[random.below(voices.len())];
    loop {
        let person = &voices[random.below(voices.len())];
        if person.recording != assistant.recording {
            return (assistant, person);
        }
    }
}

/// Draws an ordinary echo: a clipping loudspeaker in a room with a reverberation time of 0.3 s.
fn echo_of(far: &[f32], delay_ms: f32, dbfs: f32, random: &mut Random) -> Vec<f32> {
    let sound = reflected(&loudspeaker(far), &room(0.3, random));
    at_level(delayed(&sound, delay_ms), dbfs)
}

fn audible(echo: &[f32], noise_dbfs: f32) -> Vec<bool> {
    let bar = gain_of(noise_dbfs + 10.0).powi(2);
    powers(echo).into_iter().map(|p| p > bar).collect()
}

/// Makes calls with constant echoes, over seven kinds of echo path and three levels.
fn steady(voices: &[Voice], random: &mut Random, takes: &mut Vec<Take>) {
    for (clips, decay_s, noise_dbfs, jitter_s) in [
        (false, 0.0, QUIET_DBFS, 0.005),
        (false, 0.5, QUIET_DBFS, 0.005),
        (true, 0.3, QUIET_DBFS, 0.005),
        (true, 0.3, QUIET_DBFS, 0.04),
        (true, 0.3, -60.0, 0.005),
        (true, 0.3, -48.0, 0.005),
        (true, 0.3, -33.0, 0.005),
    ] {
        for level in [-6.0, -20.0, -34.0] {
            let (assistant, _) = pair(voices, random);
            let mut far = vec![0.0; RATE as usize / 2];
            far.extend(spoken(assistant, 8.0, ASSISTANT_DBFS, random));
            let sound = if clips {
                loudspeaker(&far)
            } else {
                far.clone()
            };
            let delay_ms = random.within(60.0, 600.0);
            let sound = reflected(&sound, &room(decay_s, random));
            let echo = at_level(delayed(&sound, delay_ms), PERSON_DBFS + level);
            let near = captured(&echo, noise_dbfs, random);
            let link = Link { jitter_s, ..CLEAN };
            let audible = audible(&echo, noise_dbfs);
            takes.push(Take::new(far, near, link, move |heard, figures| {
                let first = audible.iter().position(|&x| x);
                let can_be_found = audible.iter().filter(|&&x| x).count() >= 25;
                if let (true, Some(first)) = (can_be_found, first) {
                    let error = heard.delay_ms.map(|ms| ms as f32 - delay_ms - 20.0);
                    let right = error.is_some_and(|ms| (-30.0..60.0).contains(&ms));
                    figures.add("not_found_pct", if right { 0.0 } else { 100.0 });
                    if let Some(found) = heard.found.filter(|&found| found >= first) {
                        figures.add("found_ms", 20.0 * (found + 1 - first) as f64);
                    }
                }
                let Some(found) = heard.found else { return };
                let frames = audible.iter().zip(&heard.suppressed).skip(found + 1);
                figures.share("steady_passed_pct", frames.map(|(&a, &s)| (a, !s)));
                // After the fade, the comfort noise should be as loud as the microphone's noise.
                if noise_dbfs > QUIET_DBFS {
                    let wire: Vec<f32> = heard
                        .wire
                        .iter()
                        .map(|&x| f32::from(x) / 32_768.0)
                        .collect();
                    let replaced: Vec<f32> = powers(&wire)
                        .into_iter()
                        .enumerate()
                        .filter(|&(k, _)| k > 100 && heard.suppressed[k] && heard.suppressed[k - 1])
                        .map(|(_, power)| power)
                        .collect();
                    if replaced.len() > 25 {
                        let mean = replaced.iter().sum::<f32>() / replaced.len() as f32;
                        let error = 10.0 * (mean + 1e-12).log10() - noise_dbfs;
                        figures.add("background_db", f64::from(error.abs()));
                    }
                }
            }));
        }
    }
}

/// Notes the share of an echo that passes once it was found.
fn note_passed(name: &'static str, heard: &Heard, echo: &[f32], figures: &mut Figures) {
    let Some(found) = heard.found else { return };
    let audible = audible(echo, QUIET_DBFS);
    let frames = audible.iter().zip(&heard.suppressed).skip(found + 1);
    figures.share(name, frames.map(|(&a, &s)| (a, !s)));
}

/// Makes calls with echoes whose level or delay changes, or that a client's suppressor gates.
fn changing(voices: &[Voice], random: &mut Random, takes: &mut Vec<Take>) {
    for case in 0..6 {
        let (assistant, _) = pair(voices, random);
        let far = spoken(assistant, 12.0, ASSISTANT_DBFS, random);
        let delay_ms = random.within(200.0, 500.0);
        let steady = echo_of(&far, delay_ms, PERSON_DBFS - 14.0, random);
        let change = 6 * RATE as usize;
        let (name, echo) = match case {
            0 | 1 => {
                let by_ms = if case == 0 { 90.0 } else { -120.0 };
                let other = echo_of(&far, delay_ms + by_ms, PERSON_DBFS - 14.0, random);
                (
                    "moved_passed_pct",
                    [&steady[..change], &other[change..]].concat(),
                )
            }
            2 | 3 => {
                let gain = gain_of(if case == 2 { 10.0 } else { -10.0 });
                let scaled = |i: usize, x: &f32| match i / (3 * RATE as usize) % 2 {
                    0 => *x,
                    _ => gain * x,
                };
                let echo = steady.iter().enumerate().map(|(i, x)| scaled(i, x));
                ("level_passed_pct", echo.collect())
            }
            _ => {
                let (mut echo, mut start) = (steady, 0);
                while start < echo.len() {
                    let length = (random.within(0.06, 0.3) * RATE as f32) as usize;
                    let gain = gain_of([0.0, -6.0, -12.0, -18.0][random.below(4)]);
                    let end = (start + length).min(echo.len());
                    echo[start..end].iter_mut().for_each(|x| *x *= gain);
                    start = end;
                }
                ("suppressor_passed_pct", echo)
            }
        };
        let near = captured(&echo, QUIET_DBFS, random);
        takes.push(Take::new(far, near, CLEAN, move |heard, figures| {
            note_passed(name, heard, &echo, figures);
        }));
    }
}

/// Makes calls with disturbed timing: adaptive jitter buffers, clocks, losses, pauses.
fn disturbed(voices: &[Voice], random: &mut Random, takes: &mut Vec<Take>) {
    for case in 0..6 {
        let (assistant, _) = pair(voices, random);
        let mut far = spoken(assistant, 12.0, ASSISTANT_DBFS, random);
        let mut link = CLEAN;
        if case == 4 {
            far[4 * RATE as usize..7 * RATE as usize].fill(0.0);
        }
        let delay_ms = random.within(100.0, 500.0);
        let mut echo = echo_of(&far, delay_ms, PERSON_DBFS - 14.0, random);
        match case {
            // A jitter buffer that plays everything after a pause 40 ms earlier, or later again.
            0 | 1 => {
                let early = echo_of(&far, delay_ms - 40.0, PERSON_DBFS - 14.0, random);
                let lag = (delay_ms * RATE as f32 / 1000.0) as usize / FRAME;
                let (mut is_early, mut silent) = (case == 1, 0);
                let sounds: Vec<bool> = powers(&far).iter().map(|&p| p > 1e-7).collect();
                for k in 0..echo.len() / FRAME {
                    let sounding = k >= lag && sounds[k - lag];
                    silent = if sounding { 0 } else { silent + 1 };
                    is_early ^= silent == 15;
                    if is_early {
                        let at = FRAME * k..FRAME * (k + 1);
                        echo[at.clone()].copy_from_slice(&early[at]);
                    }
                }
            }
            // A sound card that is slow by 0.2 %.
            2 => {
                let length = echo.len();
                echo = stretch(&echo, 0.998);
                echo.truncate(length);
            }
            // A second without packets.
            3 => link.lost = (250, 300),
            // A sender that is held up again and again.
            5 => link.played_jitter_s = 0.05,
            _ => {}
        }
        let near = captured(&echo, QUIET_DBFS, random);
        takes.push(Take::new(far, near, link, move |heard, figures| {
            note_passed("timing_passed_pct", heard, &echo, figures);
        }));
    }
}

fn loud(person: &[f32]) -> Vec<bool> {
    let powers = powers(person);
    let most = powers.iter().copied().fold(0.0, f32::max);
    powers
        .iter()
        .map(|&p| p > most / 100.0 && p > 0.0)
        .collect()
}

/// Notes the share of a person's loud frames that is suppressed.
fn note_lost(name: &'static str, heard: &Heard, person: &[f32], figures: &mut Figures) {
    let frames = loud(person)
        .into_iter()
        .zip(heard.suppressed.iter().copied());
    figures.share(name, frames);
}

/// Makes calls with people who speak over an echo, and people who speak after it has gone.
fn double_talk(voices: &[Voice], random: &mut Random, takes: &mut Vec<Take>) {
    for (over, name) in [
        (0.0, "person_0_6_db_lost_pct"),
        (6.0, "person_0_6_db_lost_pct"),
        (12.0, "person_12_20_db_lost_pct"),
        (20.0, "person_12_20_db_lost_pct"),
    ] {
        for below in [-12.0, -12.0, -26.0, -26.0] {
            let (assistant, person) = pair(voices, random);
            let far = spoken(assistant, 9.0, ASSISTANT_DBFS, random);
            let level = PERSON_DBFS + below;
            let delay_ms = random.within(60.0, 600.0);
            let echo = echo_of(&far, delay_ms, level, random);
            let start = 180 + random.below(120);
            let mut words = vec![0.0; start * FRAME];
            words.extend(spoken(person, 9.0, level + over, random));
            words.truncate(far.len());
            let near = captured(&sum(&echo, &words), QUIET_DBFS, random);
            let alone = onset_alone(&captured(&words, QUIET_DBFS, random), start);
            takes.push(Take::new(far, near, CLEAN, move |heard, figures| {
                note_lost(name, heard, &words, figures);
                let with = heard.starts.iter().copied().find(|&k| k + 1 >= start);
                if let (Some(alone), Some(with)) = (alone, with) {
                    figures.add(
                        "person_late_ms",
                        20.0 * (with as f64 - alone as f64).max(0.0),
                    );
                }
            }));
        }
    }
    // The echo ends after 5 s: headphones. The person speaks from 6.5 s on.
    for level in [-22.0, -36.0] {
        let (assistant, person) = pair(voices, random);
        let far = spoken(assistant, 14.0, ASSISTANT_DBFS, random);
        let delay_ms = random.within(60.0, 600.0);
        let mut echo = echo_of(&far, delay_ms, PERSON_DBFS - 10.0, random);
        echo[5 * RATE as usize..].fill(0.0);
        let mut words = vec![0.0; 13 * RATE as usize / 2];
        words.extend(spoken(person, 9.0, level, random));
        words.truncate(far.len());
        let near = captured(&sum(&echo, &words), QUIET_DBFS, random);
        takes.push(Take::new(far, near, CLEAN, move |heard, figures| {
            note_lost("after_echo_lost_pct", heard, &words, figures);
        }));
    }
}

/// Makes calls with people without an echo who speak at the same time as the assistant.
fn independent(voices: &[Voice], random: &mut Random, takes: &mut Vec<Take>) {
    for k in 0..24 {
        let (assistant, person) = pair(voices, random);
        let far = spoken(assistant, 10.0, ASSISTANT_DBFS, random);
        let level = [-22.0, -22.0, -40.0][k % 3];
        let words = spoken(person, 10.0, level, random);
        let noise_dbfs = [QUIET_DBFS, -50.0][k % 2];
        let near = captured(&words, noise_dbfs, random);
        takes.push(Take::new(far, near, CLEAN, move |heard, figures| {
            let found = heard.found.is_some();
            figures.add("false_found_pct", if found { 100.0 } else { 0.0 });
            note_lost("false_lost_pct", heard, &words, figures);
        }));
    }
}

/// Runs an assistant that pauses, or ducks to 0.3, at every speech start in its own echo.
fn closed_loop(voices: &[Voice], random: &mut Random, figures: &mut Figures) {
    for case in 0..6 {
        let (assistant, _) = pair(voices, random);
        let far = spoken(assistant, 15.0, ASSISTANT_DBFS, random);
        let down = if case % 2 == 0 { 0.0 } else { 0.3 };
        let taps = room(0.3, random);
        let gain = gain_of([-8.0, -14.0, -24.0][case / 2]);
        let delay = (random.within(60.0, 600.0) * 16.0) as usize;
        let mut resampler = Resampler::new(RATE, CALL_RATE).expect("valid");
        let (mut call, mut wire, mut far48) = (Call::new(), Vec::new(), Vec::new());
        let mut played: Vec<f32> = Vec::new();
        let (mut position, mut held, mut resume) = (0, false, None);
        let mut starts = 0;
        for tick in 0..750 {
            let frame: Vec<f32> = if held && down == 0.0 {
                vec![0.0; FRAME]
            } else {
                let scale = if held { down } else { 1.0 };
                let from = position % (far.len() - FRAME);
                position += FRAME;
                far[from..from + FRAME].iter().map(|x| scale * x).collect()
            };
            played.extend(&frame);
            far48.clear();
            resampler.push(&pcm(&frame), &mut far48);
            if held && down == 0.0 {
                far48.fill(0);
            }
            let mut near = vec![0.0; FRAME];
            for &(reflection, tap) in &taps {
                // Sound from before the call is silence.
                let late = delay + reflection;
                let silent = late.saturating_sub(tick * FRAME).min(FRAME);
                let from = (tick * FRAME + silent).saturating_sub(late);
                for (near, x) in near[silent..].iter_mut().zip(&played[from..]) {
                    *near += gain * tap * x;
                }
            }
            let near = captured(&near, QUIET_DBFS, random);
            if call.step(&far48, &near, CLEAN, &mut wire) {
                starts += 1;
                (held, resume) = (true, None);
            }
            let stops = |event: &VadEvent| matches!(event, VadEvent::SpeechStopped { .. });
            if call.events.iter().any(stops) {
                resume = Some(tick + 20);
            }
            if resume.is_some_and(|at| tick >= at) {
                (held, resume) = (false, None);
            }
        }
        figures.add("loop_starts_per_min", 4.0 * f64::from(starts));
    }
}

/// Measures 20 ms of a searching suppressor and its reference: µs, least of many rounds.
fn cost(figures: &mut Figures) {
    let mut random = Random::new(4);
    let mut noise = |n: usize| -> Vec<i16> {
        (0..n)
            .map(|_| random.within(-2_000.0, 2_000.0) as i16)
            .collect()
    };
    let (far, near) = (noise(50 * CALL_FRAME), noise(50 * FRAME));
    let mut reference = EchoReference::new(CALL_RATE, 1_000).expect("valid");
    let mut streams =
        [(); 2].map(|()| InputStream::new(RATE, VadOptions::default()).expect("valid"));
    let (mut wire, mut events) = (Vec::new(), Vec::new());
    let mut least = [f64::INFINITY; 2];
    let mut now = 0.0;
    for _ in 0..60 {
        let mut spent = [0.0; 2];
        for (far, near) in far.chunks(CALL_FRAME).zip(near.chunks(FRAME)) {
            for (with_echo, stream) in streams.iter_mut().enumerate() {
                wire.clear();
                events.clear();
                let begin = Instant::now();
                if with_echo == 1 {
                    reference.push(far, now).expect("a time");
                    stream.expect_echo(&reference, now).expect("a time");
                }
                stream
                    .push(near, RATE, &mut wire, &mut events)
                    .expect("the wire's rate");
                spent[with_echo] += begin.elapsed().as_secs_f64() * 1e6 / 50.0;
            }
            now += 0.02;
        }
        for (least, spent) in least.iter_mut().zip(spent) {
            *least = least.min(spent);
        }
    }
    figures.add("cost_us", least[1] - least[0]);
    // The assistant goes on for two minutes while the microphone is muted, digitally.
    let mut call = Call::new();
    let mut muted_us = f64::INFINITY;
    for k in 0..120 {
        let begin = Instant::now();
        for (far, near) in far.chunks(CALL_FRAME).zip(near.chunks(FRAME)) {
            wire.clear();
            let near = if k < 4 { near } else { &[0; FRAME] };
            call.step(far, near, CLEAN, &mut wire);
        }
        if k >= 110 {
            muted_us = muted_us.min(begin.elapsed().as_secs_f64() * 1e6 / 50.0);
        }
    }
    figures.add("muted_cost_us", muted_us);
}

fn measure(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let folder = arguments
        .first()
        .ok_or("usage: echo_figures VOICES [FOLDS]")?;
    let folds = arguments.get(1).map_or(Ok(4), |n| n.parse())?;
    let voices = read_voices(Path::new(folder))?;
    for fold in 0..folds {
        let mut random = Random::new(1 + fold);
        let mut takes = Vec::new();
        for make in [steady, changing, disturbed, double_talk, independent] {
            make(&voices, &mut random, &mut takes);
        }
        let mut figures = Figures::default();
        for take in &takes {
            take.run(&mut figures);
        }
        closed_loop(&voices, &mut Random::new(1 + fold), &mut figures);
        cost(&mut figures);
        figures.print();
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
