//! Underruns and start delays of turns, in models of services that deliver in different ways.
//!
//! A store that is not told the arrival times of chunks has a fixed prefill.

mod property;

use proptest::prelude::*;
use voice_audio::{NextFrame, Playback, PlaybackOptions};

/// Number of samples of a millisecond at 24 kHz.
const MS: usize = 24;
const FRAME_S: f64 = 0.020;
/// Time before playout at which a frame is handed over.
const LEAD_S: f64 = 0.020;
/// Time before playout until which a frame that would be an underrun may still be awaited.
const HAND_OVER_S: f64 = 0.005;

/// Model of a service that sends turns of speech.
#[derive(Debug, Clone, Copy)]
struct Service {
    /// Speed as a multiple of real time.
    speed: f64,
    chunk_ms: usize,
    /// Greatest lateness of a chunk in seconds, evenly distributed; chunks stay in order.
    jitter: f64,
    /// Number of chunks that arrive at once, when the last of them is due.
    burst: usize,
}

/// Result of a session.
#[derive(Debug, Default, Clone)]
struct Session {
    underruns: u64,
    /// Delays from the first chunk of each turn to the first frame with it, in seconds.
    ///
    /// The first turn is left out, since nothing is known for it.
    delays: Vec<f64>,
}

impl Session {
    fn add(&mut self, other: Self) {
        self.underruns += other.underruns;
        self.delays.extend(other.delays);
    }

    fn delay_ms(&self) -> f64 {
        1000.0 * self.delays.iter().sum::<f64>() / self.delays.len() as f64
    }
}

/// Way in which frames are taken from the store.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Taken {
    /// Each frame [`LEAD_S`] ahead of its time.
    Ahead,
    /// Each frame ahead of its time, but one that would be an underrun as late as possible.
    AheadOrLate,
    /// Each frame at its time, silence included, on a grid of 20 ms.
    OnTime,
}

struct Random(u64);

impl Random {
    /// Draws a number from 0 to 1, evenly distributed: SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Service {
    /// Returns the times of the chunks of a turn that begins at `start`, and its end.
    fn turn(&self, start: f64, ms: usize, random: &mut Random) -> (Vec<f64>, f64) {
        let chunks = ms.div_ceil(self.chunk_ms);
        let interval = self.chunk_ms as f64 / 1000.0 / self.speed;
        let (mut times, mut newest) = (Vec::new(), start);
        for k in 0..chunks {
            let last_of_burst = (k / self.burst + 1) * self.burst - 1;
            let due = start + interval * last_of_burst.min(chunks - 1) as f64;
            newest = f64::max(newest, due + self.jitter * random.next());
            times.push(newest);
        }
        (times, newest)
    }
}

/// Runs a session of turns of these lengths in ms, with or without `learning` from chunk times.
fn session(service: Service, turns: &[usize], seed: u64, learning: bool, taken: Taken) -> Session {
    let options = PlaybackOptions {
        output_rate: 24_000, // copies: much quicker, and nothing here depends on it
        ..PlaybackOptions::default()
    };
    let mut random = Random(seed);
    let mut playback = Playback::new(options).unwrap();
    let mut found = Session::default();
    let mut frame = vec![0; playback.frame_len()];
    let (mut now, mut anchor, mut handed, mut rested) = (0.0, 0.0, 0, true);
    for (turn, &ms) in (1u64..).zip(turns) {
        let (times, end) = service.turn(now + 1.0 + FRAME_S * random.next(), ms, &mut random);
        let chunk = vec![1000; service.chunk_ms * MS];
        let (mut next, mut started) = (0, false);
        loop {
            while next < times.len() && times[next] <= now {
                if learning {
                    let outcome = playback.push_at(&chunk, turn, times[next]).unwrap();
                    assert_eq!(outcome.accepted, chunk.len());
                } else {
                    assert_eq!(playback.push(&chunk, turn).accepted, chunk.len());
                }
                next += 1;
            }
            if next == times.len() && now >= end {
                playback.end_turn(turn);
            }
            let news = times.get(next).copied().unwrap_or(f64::INFINITY);
            let played_at = anchor + FRAME_S * f64::from(handed);
            let due = match taken {
                Taken::OnTime => played_at,
                Taken::AheadOrLate if playback.next_frame() == NextFrame::Starved => {
                    played_at - HAND_OVER_S
                }
                _ => played_at - LEAD_S,
            };
            if taken != Taken::OnTime && !playback.audible() {
                rested = true;
                if next == times.len() {
                    break;
                }
                now = news;
                continue;
            }
            if taken == Taken::OnTime && next == times.len() && !playback.audible() {
                break;
            }
            if now < due {
                now = due.min(news);
                continue;
            }
            if taken != Taken::OnTime && now > played_at {
                assert!(rested, "frames are taken in time");
                (anchor, handed) = (now, 0);
            }
            rested = false;
            playback.pop_frame(&mut frame);
            handed += 1;
            if !started && playback.turn_stats(turn).is_some_and(|t| t.played > 0) {
                started = true;
                if turn > 1 {
                    found.delays.push(now - times[0]);
                }
            }
        }
        assert_eq!(
            playback.played_ms(turn),
            (times.len() * service.chunk_ms) as f64
        );
    }
    found.underruns = playback.stats().underruns;
    found
}

fn services(speeds: &[f64]) -> impl Strategy<Value = Service> + use<> {
    let speed = prop::sample::select(speeds.to_vec());
    let chunk_ms = prop::sample::select(vec![10, 20, 30, 33, 40, 50, 100, 240]);
    let jitter = prop_oneof![Just(0.0), 0.0..0.06];
    let burst = prop_oneof![3 => Just(1usize), 1 => 2usize..8];
    (speed, chunk_ms, jitter, burst).prop_map(|(speed, chunk_ms, jitter, burst)| Service {
        speed,
        chunk_ms,
        jitter,
        burst,
    })
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(300usize..4000, 2..9)
}

proptest! {
    #![proptest_config(property::property(100))]

    #[test]
    fn with_a_service_that_keeps_up_nothing_learnt_costs_an_underrun(
        service in services(&[8.0, 4.0, 2.0, 1.3, 1.1, 1.0]),
        turns in lengths(),
        seed: u64,
    ) {
        for taken in [Taken::AheadOrLate, Taken::OnTime] {
            let fixed = session(service, &turns, seed, false, taken);
            let learnt = session(service, &turns, seed, true, taken);
            prop_assert!(learnt.underruns <= fixed.underruns, "{taken:?} {learnt:?} {fixed:?}");
        }
    }

    /// A service slower than real time always causes underruns; the prefill only moves the last one
    /// to either side of the turn's end.
    #[test]
    fn with_a_slow_service_what_is_learnt_costs_one_underrun_at_most(
        service in services(&[0.97, 0.95, 0.9]),
        turns in lengths(),
        seed: u64,
    ) {
        for taken in [Taken::AheadOrLate, Taken::OnTime] {
            let fixed = session(service, &turns, seed, false, taken);
            let learnt = session(service, &turns, seed, true, taken);
            prop_assert!(learnt.underruns <= fixed.underruns + 1, "{taken:?} {learnt:?} {fixed:?}");
        }
    }
}

/// Compares many sessions with a store of fixed prefill from which each frame is taken ahead.
///
/// With `--nocapture` it prints the table.
#[test]
fn underruns_are_fewer_and_starts_are_sooner_with_every_service() {
    const SEEDS: u64 = 4;
    let turns = [800, 1500, 2500, 1500, 2500, 1500];
    println!("                                    underruns      start after, ms");
    println!("speed jitter, ms burst chunk, ms   fixed learnt   fixed learnt");
    for (speed, jitter, burst) in [
        (4.0, 0.0, 1),
        (4.0, 0.010, 1),
        (4.0, 0.0, 5),
        (1.3, 0.0, 1),
        (1.3, 0.020, 1),
        (1.0, 0.0, 1),
        (1.0, 0.040, 1),
        (0.9, 0.0, 1),
        (0.9, 0.020, 1),
    ] {
        for chunk_ms in [10, 20, 40, 100] {
            let service = Service {
                speed,
                chunk_ms,
                jitter,
                burst,
            };
            let (mut fixed, mut learnt) = (Session::default(), Session::default());
            for seed in 0..SEEDS {
                fixed.add(session(service, &turns, seed, false, Taken::Ahead));
                learnt.add(session(service, &turns, seed, true, Taken::AheadOrLate));
            }
            println!(
                "{speed:5.1} {:10.0} {burst:5} {chunk_ms:9} {:7} {:6} {:7.1} {:6.1}",
                jitter * 1000.0,
                fixed.underruns,
                learnt.underruns,
                fixed.delay_ms(),
                learnt.delay_ms(),
            );
            assert!(learnt.underruns <= fixed.underruns, "{service:?}");
            if fixed.underruns == 0 {
                assert!(learnt.delay_ms() <= fixed.delay_ms() + 1e-9, "{service:?}");
            }
            if speed >= 4.0 && jitter == 0.0 && chunk_ms >= 20 {
                assert!(learnt.delay_ms() < 0.1, "{service:?}");
            }
        }
    }
}
