//! Tests of the suppressor with echoes, with people, and with double talk.

use super::*;

const RATE: u32 = 16_000;
const FRAME: usize = 320;

/// Generator of random numbers from -1 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (0.5 + 0.5 * self.next())
    }
}

/// Synthesizes speech-like sound at 16 kHz, different for each `voice`.
///
/// Pulses of a gliding pitch, or noise, pass three resonances that differ from syllable to
/// syllable, with pauses between words.
fn talk(voice: u64, seconds: f32) -> Vec<f32> {
    let mut random = Random(voice.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..20 {
        random.next();
    }
    let n = (seconds * RATE as f32) as usize;
    let mut out = Vec::with_capacity(n);
    let pitch = random.within(90.0, 220.0);
    let mut phase = 0.0;
    while out.len() < n {
        if random.next() > 0.6 {
            let pause = random.within(0.06, 0.3) * RATE as f32;
            out.extend(vec![0.0; pause as usize]);
        }
        let length = (random.within(0.08, 0.28) * RATE as f32) as usize;
        let voiced = random.next() > -0.6;
        let formants = if voiced {
            [(250.0, 800.0), (850.0, 2_300.0), (2_300.0, 3_400.0)]
        } else {
            [(1_500.0, 2_500.0), (2_500.0, 3_500.0), (3_500.0, 5_500.0)]
        };
        let poles = formants.map(|(low, high)| {
            let w = 2.0 * std::f32::consts::PI * random.within(low, high) / RATE as f32;
            let r = 0.975f32;
            (2.0 * r * w.cos(), -r * r)
        });
        let (from, to) = (random.within(0.8, 1.25), random.within(0.8, 1.25));
        let level = random.within(0.3, 1.0) * if voiced { 1.0 } else { 0.1 };
        let mut state = [(0.0, 0.0); 3];
        for i in 0..length {
            let part = i as f32 / length as f32;
            phase += pitch * (from + (to - from) * part) / RATE as f32;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            phase -= pulse;
            let source = if voiced { pulse } else { random.next() };
            let mut sum = 0.0;
            for (s, (a, b)) in state.iter_mut().zip(poles) {
                let y = source + a * s.0 + b * s.1;
                *s = (y, s.0);
                sum += y;
            }
            out.push(sum * level * (std::f32::consts::PI * part).sin());
        }
    }
    out.truncate(n);
    at_level(out, -20.0)
}

/// Scales `x` so that its non-silent samples have a root mean square of `dbfs`.
fn at_level(mut x: Vec<f32>, dbfs: f32) -> Vec<f32> {
    let sounding: Vec<f32> = x.iter().copied().filter(|x| x.abs() > 1e-6).collect();
    let power = sounding.iter().map(|x| x * x).sum::<f32>() / sounding.len().max(1) as f32;
    let gain = 10f32.powf(dbfs / 20.0) / power.sqrt();
    x.iter_mut().for_each(|x| *x *= gain);
    x
}

fn delayed(x: &[f32], ms: usize) -> Vec<f32> {
    let n = ms * RATE as usize / 1000;
    let mut y = vec![0.0; n];
    y.extend(&x[..x.len() - n]);
    y
}

/// Adds the sparse, decaying reflections of a room with a reverberation time of 0.3 s.
fn in_a_room(x: &[f32]) -> Vec<f32> {
    let mut random = Random(77);
    let mut y = x.to_vec();
    for _ in 0..60 {
        let at = random.within(0.004, 0.2);
        let gain = 0.3 * random.next() * 10f32.powf(-3.0 * at / 0.3);
        let delay = (at * RATE as f32) as usize;
        for i in delay..x.len() {
            y[i] += gain * x[i - delay];
        }
    }
    y
}

fn sum(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// Converts to 16 bits with the noise of a microphone, -75 dBFS.
fn captured(x: &[f32]) -> Vec<i16> {
    let mut random = Random(5);
    x.iter()
        .map(|x| ((x + 3e-4 * random.next()) * 32_767.0) as i16)
        .collect()
}

fn pcm(x: &[f32]) -> Vec<i16> {
    x.iter().map(|x| (x * 32_767.0) as i16).collect()
}

/// One call: a reference and a suppressor on the same clock.
struct Call {
    reference: EchoReference,
    suppressor: EchoSuppressor,
    tick: usize,
}

/// Output of the suppressor in a call.
#[derive(Default)]
struct Heard {
    wire: Vec<i16>,
    /// For each frame, whether it was suppressed.
    echo: Vec<bool>,
    /// First frame with a known delay.
    found: Option<usize>,
}

impl Call {
    fn new() -> Self {
        let reference = EchoReference::new(RATE, 1_000).unwrap();
        let suppressor = EchoSuppressor::new(RATE, &reference);
        Self {
            reference,
            suppressor,
            tick: 0,
        }
    }

    /// Runs frames of 20 ms of both sides. Silent render frames are not pushed.
    fn run(&mut self, far: &[f32], near: &[i16]) -> Heard {
        let mut heard = Heard::default();
        for (far, near) in pcm(far).chunks(FRAME).zip(near.chunks(FRAME)) {
            let now = 100.0 + 0.02 * self.tick as f64;
            // Render frames are up to 4 ms late, captured ones up to 30 ms.
            let late = |most: f64| most * (self.tick * 7919 % 13) as f64 / 13.0;
            if far.iter().any(|&x| x != 0) {
                self.reference.push(far, now + late(0.004)).unwrap();
            }
            let mut wire = near.to_vec();
            self.suppressor.arrive(&self.reference, now + late(0.03));
            self.suppressor.suppress(&mut wire);
            if self.suppressor.delay_ms().is_some() {
                heard.found.get_or_insert(heard.echo.len());
            }
            heard.echo.push(self.suppressor.echo());
            heard.wire.extend(wire);
            self.tick += 1;
        }
        heard
    }
}

/// Returns, for each frame, whether it is louder than a level in dBFS.
fn loud(pcm: &[i16], dbfs: f32) -> Vec<bool> {
    pcm.chunks(FRAME)
        .map(|frame| {
            let power = frame.iter().map(|&x| f32::from(x).powi(2)).sum::<f32>();
            10.0 * (power / frame.len() as f32).log10() - 90.3 > dbfs
        })
        .collect()
}

fn count(frames: &[bool]) -> usize {
    frames.iter().filter(|&&x| x).count()
}

#[test]
fn an_echo_is_found_and_silenced_at_any_level_and_delay() {
    for (k, (db, ms, room)) in [
        (-28.0, 60, false),
        (-34.0, 235, true),
        (-42.0, 600, true),
        (-52.0, 950, false),
        (-60.0, 130, true),
    ]
    .into_iter()
    .enumerate()
    {
        let far = talk(k as u64, 5.0);
        let mut echo = delayed(&far, ms);
        if room {
            echo = in_a_room(&echo);
        }
        let near = captured(&at_level(echo, db));
        let mut call = Call::new();
        let heard = call.run(&far, &near);
        let found = heard.found.expect("found");
        let first = ms / 20;
        assert!(
            found - first < 35,
            "{db} dB: after {} frames",
            found - first
        );
        let error = call.suppressor.delay_ms().unwrap() - ms as f64;
        assert!((-20.0..=40.0).contains(&error), "{ms} ms: {error}");
        let level = call.suppressor.level_db().unwrap();
        assert!((level - (db + 20.0)).abs() < 5.0, "{db} dB: {level}");
        // After the frame in which it was found.
        let before = loud(&near, db - 10.0)[found + 1..].to_vec();
        let after = loud(&heard.wire, db - 10.0)[found + 1..].to_vec();
        assert!(count(&before) > 60);
        assert!(count(&after) <= 2, "{db} dB, {ms} ms: {}", count(&after));
        assert!(heard.wire[..found * FRAME] == near[..found * FRAME]);
    }
}

/// An agent ducks at the first sign of speech, here its own echo, just when that echo is found.
#[test]
fn an_echo_that_is_ducked_when_it_is_found_is_silenced() {
    for voice in 0..8 {
        let far = talk(voice, 2.0);
        let run = |far: &[f32]| {
            let echo: Vec<f32> = delayed(far, 60).iter().map(|x| 0.5 * x).collect();
            let near = captured(&echo);
            let heard = Call::new().run(far, &near);
            (heard, near)
        };
        let found = run(&far).0.found.expect("found");
        for frames_before in 0..4 {
            let mut ducked = far.clone();
            for x in &mut ducked[(found - frames_before) * FRAME..] {
                *x *= 0.3;
            }
            let (heard, near) = run(&ducked);
            let from = heard.found.expect("found") + 5;
            let before = count(&loud(&near, -50.0)[from..]);
            let after = count(&loud(&heard.wire, -50.0)[from..]);
            assert!(before > 30);
            assert!(after <= 2, "voice {voice}, {frames_before}: {after}");
        }
    }
}

#[test]
fn a_person_without_an_echo_is_not_touched() {
    for voice in 0..6 {
        let far = talk(voice, 4.0);
        let mut person = vec![0.0; 4_000 * voice as usize];
        person.extend(talk(voice + 100, 4.0));
        person.truncate(far.len());
        let near = captured(&person);
        let heard = Call::new().run(&far, &near);
        assert!(heard.wire == near && heard.found.is_none(), "voice {voice}");
    }
}

#[test]
fn a_person_is_heard_over_the_echo() {
    let far = talk(1, 7.0);
    let echo = at_level(in_a_room(&delayed(&far, 200)), -40.0);
    for over in [6.0, 12.0, 20.0] {
        let mut person = vec![0.0; 4 * RATE as usize];
        person.extend(at_level(talk(42, 3.0), -40.0 + over));
        let near = captured(&sum(&echo, &person));
        let heard = Call::new().run(&far, &near);
        let start = 4 * 50;
        assert!(count(&heard.echo[100..start]) > 70);
        let speaks = &loud(&captured(&person), -40.0 + over - 10.0)[start..];
        let silenced = heard.echo[start..].iter().zip(speaks);
        let silenced = silenced.filter(|&(&echo, &speaks)| echo && speaks).count();
        let share = silenced as f32 / count(speaks) as f32;
        assert!(
            share < if over < 10.0 { 0.2 } else { 0.06 },
            "+{over} dB: {share}"
        );
    }
}

#[test]
fn a_new_delay_is_found() {
    let far = talk(3, 9.0);
    let (a, b) = (delayed(&far, 180), delayed(&far, 300));
    let half = 4 * RATE as usize;
    let echo = [&a[..half], &b[half..]].concat();
    let near = captured(&at_level(echo, -36.0));
    let mut call = Call::new();
    let heard = call.run(&far, &near);
    let delay = call.suppressor.delay_ms().unwrap();
    assert!((290.0..=330.0).contains(&delay), "{delay}");
    // Within two seconds of it.
    let late = &loud(&heard.wire, -46.0)[300..];
    assert!(count(late) <= 2, "{}", count(late));
}

#[test]
fn an_echo_that_ends_is_forgotten() {
    let far = talk(4, 12.0);
    let mut echo = delayed(&far, 150);
    echo[3 * RATE as usize..].fill(0.0);
    let near = captured(&at_level(echo, -30.0));
    let mut call = Call::new();
    let heard = call.run(&far, &near);
    assert!(heard.found.is_some());
    assert_eq!(call.suppressor.delay_ms(), None);
    // From then on, everything passes.
    let person = captured(&talk(50, 1.0));
    let heard = call.run(&talk(51, 1.0), &person);
    assert!(heard.wire == person);
}

#[test]
fn what_was_learnt_holds_through_a_pause() {
    let far = talk(6, 4.0);
    let near = captured(&at_level(delayed(&far, 250), -34.0));
    let mut call = Call::new();
    assert!(call.run(&far, &near).found.is_some());
    // The clock of the calls goes on.
    call.run(
        &vec![0.0; 10 * RATE as usize],
        &captured(&vec![0.0; 10 * RATE as usize]),
    );
    let far = talk(7, 3.0);
    let near = captured(&at_level(delayed(&far, 250), -34.0));
    let heard = call.run(&far, &near);
    assert!(count(&loud(&heard.wire, -44.0)) <= 1);
}

#[test]
fn it_sleeps_when_nothing_is_played() {
    let person = captured(&talk(8, 1.0));
    let mut call = Call::new();
    let heard = call.run(&vec![0.0; RATE as usize], &person);
    assert!(heard.wire == person && call.suppressor.is_asleep());
    call.run(&talk(9, 0.1), &person[..1_600]);
    assert!(!call.suppressor.is_asleep());
    call.run(&vec![0.0; 2 * RATE as usize], &[0; 2 * RATE as usize]);
    assert!(call.suppressor.is_asleep());
}

#[test]
fn any_chunk_lengths_will_do() {
    let far = talk(10, 4.0);
    let near = captured(&at_level(delayed(&far, 220), -36.0));
    for lengths in [&[160][..], &[112], &[1, 1_000, 33], &[320, 321], &[4_800]] {
        let mut reference = EchoReference::new(RATE, 1_000).unwrap();
        let mut suppressor = EchoSuppressor::new(RATE, &reference);
        let played = pcm(&far);
        let mut frames = played.chunks(FRAME).enumerate().peekable();
        let mut wire = near.clone();
        let (mut start, mut found) = (0, None);
        for length in lengths.iter().cycle() {
            let end = (start + length).min(wire.len());
            let now = end as f64 / f64::from(RATE);
            while let Some((k, frame)) = frames.next_if(|(k, _)| 0.02 * *k as f64 <= now) {
                reference.push(frame, 0.02 * k as f64).unwrap();
            }
            suppressor.arrive(&reference, now);
            suppressor.suppress(&mut wire[start..end]);
            if suppressor.delay_ms().is_some() {
                found.get_or_insert(end.div_ceil(FRAME));
            }
            start = end;
            if start == wire.len() {
                break;
            }
        }
        let found = found.unwrap_or_else(|| panic!("{lengths:?}: not found"));
        let passed = count(&loud(&wire, -46.0)[found + 1..]);
        assert!(passed <= 2, "{lengths:?}: {passed}");
        let step = wire
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs());
        let whole = near
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs());
        assert!(step.max() <= whole.max(), "{lengths:?}: a click");
    }
}

#[test]
fn the_background_stays() {
    let far = talk(11, 5.0);
    let echo = at_level(delayed(&far, 200), -30.0);
    let mut random = Random(9);
    let noise: Vec<f32> = echo.iter().map(|_| 0.004 * random.next()).collect();
    let near = captured(&sum(&echo, &noise));
    let heard = Call::new().run(&far, &near);
    let levels: Vec<f32> = heard.wire[2 * RATE as usize..]
        .chunks(1_600)
        .map(|part| part.iter().map(|&x| f32::from(x).powi(2)).sum::<f32>() / 1_600.0)
        .map(|power| 10.0 * power.log10() - 90.3)
        .collect();
    assert!(count(&heard.echo[100..]) > 60);
    // The level of the noise, -52.7 dBFS, whether suppressed or not.
    assert!(
        levels.iter().all(|db| (db + 53.0).abs() < 4.0),
        "{levels:?}"
    );
}

#[test]
fn what_is_left_alone_counts_as_time() {
    let far = talk(12, 4.0);
    let near = captured(&at_level(delayed(&far, 200), -34.0));
    let mut call = Call::new();
    call.run(&far, &near);
    assert!(call.suppressor.delay_ms().is_some());
    let far = talk(13, 2.0);
    let near = captured(&at_level(delayed(&far, 200), -34.0));
    for (far, near) in pcm(&far).chunks(FRAME).zip(near.chunks(FRAME)) {
        let now = 100.0 + 0.02 * call.tick as f64;
        call.reference.push(far, now).unwrap();
        call.suppressor.skip(near.len());
        assert!(!call.suppressor.echo());
        call.tick += 1;
    }
    let far = talk(14, 2.0);
    let near = captured(&at_level(delayed(&far, 200), -34.0));
    let heard = call.run(&far, &near);
    assert!(count(&loud(&heard.wire, -44.0)) <= 1);
}

#[test]
fn a_reference_puts_frames_on_the_clock() {
    let mut reference = EchoReference::new(48_000, 1_000).unwrap();
    let tone: Vec<i16> = (0..960)
        .map(|i| (10_000.0 * (i as f32 * 0.13).sin()) as i16)
        .collect();
    let power = |reference: &EchoReference, row: i64| reference.power(row).iter().sum::<f32>();
    // A run with jitter is one run.
    for (k, late) in [0.0, 0.015, -0.01, 0.05].into_iter().enumerate() {
        reference
            .push(&tone, 7.003 + 0.02 * k as f64 + late)
            .unwrap();
    }
    assert_eq!(reference.newest, 708);
    let rows: Vec<f32> = (700..=708).map(|row| power(&reference, row)).collect();
    // The first row has 7 ms of sound, the last 3 ms.
    assert!(
        rows[1..8].iter().all(|&x| (x / rows[4] - 1.0).abs() < 0.2),
        "{rows:?}"
    );
    assert!(
        rows[0] < 0.75 * rows[4] && rows[8] < 0.4 * rows[4],
        "{rows:?}"
    );
    // A pause is silence.
    reference.push(&tone, 7.2).unwrap();
    assert!((709..720).all(|row| power(&reference, row) == 0.0));
    assert!(power(&reference, 720) > 0.2 * rows[4]);
    // The same row goes on.
    reference.push(&tone[..96], 7.301).unwrap();
    let before = power(&reference, 730);
    reference.push(&tone[..96], 7.3011).unwrap();
    assert!(power(&reference, 730) > before);
    // Another clock.
    let generation = reference.generation;
    reference.push(&tone, -3.0).unwrap();
    assert!(reference.generation != generation && reference.newest == -298);
}

#[test]
fn what_is_no_time_is_refused() {
    let mut reference = EchoReference::new(16_000, 1_000).unwrap();
    for at in [f64::NAN, f64::INFINITY, -1e13] {
        let refused = reference.push(&[1; 320], at);
        assert!(matches!(refused, Err(Error::Option { name: "at", .. })));
    }
    assert!(matches!(
        EchoReference::new(16_000, 99),
        Err(Error::Option {
            name: "max_delay_ms",
            ..
        })
    ));
    assert!(matches!(
        EchoReference::new(4_000, 500),
        Err(Error::Rate { .. })
    ));
}

/// Runs a call and fails if a state is a subnormal number, checked every 0.3 s.
fn stays_normal(call: &mut Call, far: &[f32], near: &[i16], what: &str) {
    const LOOK: usize = 15 * FRAME;
    for (k, (far, near)) in far.chunks(LOOK).zip(near.chunks(LOOK)).enumerate() {
        call.run(far, near);
        let reference = call.reference.state().into_iter();
        for (name, x) in call.suppressor.state().into_iter().chain(reference) {
            assert!(
                !x.is_subnormal(),
                "{what}, {} s: {name} is {x:e}",
                0.3 * k as f32
            );
        }
    }
}

#[test]
fn silence_after_sound_leaves_no_subnormal_numbers() {
    let far = talk(15, 4.0);
    let near = captured(&at_level(delayed(&far, 200), -30.0));
    let person = captured(&talk(16, 1.0));
    let seconds = |n: usize| vec![0; n * RATE as usize];
    // The microphone is muted, digitally, while the assistant goes on for minutes.
    for (what, known) in [("a known echo", true), ("no echo", false)] {
        let mut call = Call::new();
        if known {
            call.run(&far, &near)
        } else {
            call.run(&far, &person)
        };
        assert_eq!(call.suppressor.delay_ms().is_some(), known, "{what}");
        // The sums of the delay estimator decay slowest: without an echo they take 90 s.
        for _ in 0..if known { 5 } else { 25 } {
            stays_normal(&mut call, &far, &seconds(4), what);
        }
        // Quiet, then asleep, then awake again.
        stays_normal(&mut call, &vec![0.0; 4 * RATE as usize], &seconds(4), what);
        stays_normal(&mut call, &far, &near, what);
    }
    // The assistant says one short word again and again.
    let mut call = Call::new();
    call.run(&far, &near);
    let mut word = vec![0.0; 3 * RATE as usize / 2];
    word[..RATE as usize / 10].copy_from_slice(&far[..RATE as usize / 10]);
    for _ in 0..20 {
        stays_normal(&mut call, &word, &seconds(2)[..word.len()], "words");
    }
}
