//! Measures `Capture` beside the earlier mixer over 38 networks, and its cost.
//!
//! ```text
//! cargo bench -p voice-audio --bench capture
//! ```
//!
//! People talk in words that are cut from a recording; the detector is the real one. The low byte
//! of each sample carries the code of its voice, so that it is found in the sum on the wire. Time
//! is simulated: all but the cost is the same in every run. The tables go to
//! `target/bench-results/capture.md`, with `PUBLISH=1` to `benches/results/capture.md` of the
//! repository. Takes minutes.

mod earlier_mixer;
#[path = "../../src/capture/tests/people.rs"]
mod people;
#[path = "../progress/mod.rs"]
mod progress;

use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use earlier_mixer::EarlierMixer;
use people::{Call, FRAME, Jitter, Person, Pts, Report, Wire, ms, quantile};
use progress::Progress;
use voice_audio::{
    Arrival, Capture, CaptureOptions, Due, InputStream, Resampler, Samples, VadOptions,
};

/// Rate of the wire and of the recording, in Hz.
const RATE: u32 = 16_000;

/// `Capture` with hard edges, so that every sample on the wire was captured.
struct ByCapture {
    capture: Capture,
    due: Due,
}

impl ByCapture {
    fn new() -> Self {
        let options = CaptureOptions {
            fade_ms: 0,
            ..CaptureOptions::default()
        };
        Self {
            capture: Capture::new(RATE, options).expect("usable options"),
            due: Due::default(),
        }
    }
}

fn seconds(samples: i64) -> f64 {
    samples as f64 / f64::from(RATE)
}

impl Wire for ByCapture {
    fn push(&mut self, person: usize, samples: &[i16], pts: Option<i64>, now: i64, _speech: bool) {
        let arrival = Arrival {
            pts: pts.map(seconds),
            ..Arrival::at(seconds(now))
        };
        let samples = Samples::Mono(samples);
        let pushed = self
            .capture
            .push(person as u64, samples, RATE, arrival, &mut self.due);
        pushed.expect("usable samples");
    }

    fn advance(&mut self, now: i64) {
        self.capture
            .advance(seconds(now), &mut self.due)
            .expect("a time");
    }

    fn next_advance(&self) -> Option<i64> {
        let at = self.capture.next_advance()?;
        Some((at * f64::from(RATE)).round() as i64)
    }

    fn take(&mut self, each: &mut dyn FnMut(&[i16; FRAME])) {
        self.due.wire.as_chunks().0.iter().for_each(each);
        self.due.clear();
    }
}

/// Earlier capture path: fills timestamp gaps below a second with silence, then mixes.
#[derive(Default)]
struct ByEarlierMixer {
    mixer: EarlierMixer,
    /// For each person, the expected position of the next packet.
    next: Vec<Option<i64>>,
}

impl Wire for ByEarlierMixer {
    fn push(&mut self, person: usize, samples: &[i16], pts: Option<i64>, _now: i64, _speech: bool) {
        if self.next.len() <= person {
            self.next.resize(person + 1, None);
        }
        let gap = pts
            .zip(self.next[person])
            .map_or(0, |(pts, next)| pts - next);
        let believed = if (ms(10)..ms(1_000)).contains(&gap) {
            gap as usize
        } else {
            0
        };
        let silence = std::iter::repeat_n(0, believed);
        self.mixer
            .push(person, silence.chain(samples.iter().copied()));
        self.next[person] = pts.map(|pts| pts + FRAME as i64);
    }

    fn advance(&mut self, _now: i64) {}

    fn next_advance(&self) -> Option<i64> {
        None
    }

    fn take(&mut self, each: &mut dyn FnMut(&[i16; FRAME])) {
        while let Some(frame) = self.mixer.pop() {
            each(&frame);
        }
    }
}

struct Row {
    name: String,
    people: Vec<Person>,
    seconds: i64,
    busy: (i64, i64),
}

fn rows() -> Vec<Row> {
    const C: Person = Person::CLEAN;
    const L: Person = Person::LISTENS;
    let jitter = |most| Person {
        jitter: Jitter::Uniform(most),
        ..C
    };
    let stall = |length| Person {
        stall: Some((length, 15_000)),
        ..C
    };
    let mut rows = Vec::new();
    let mut row = |name: &str, people: &[Person], seconds: i64, busy: i64| {
        rows.push(Row {
            name: name.into(),
            people: people.into(),
            seconds,
            busy: if busy == 0 { (0, 1) } else { (busy, 15_000) },
        });
    };
    row("1, clean", &[C], 120, 0);
    for length in [80, 300, 1_000] {
        row(
            &format!("1, stalls of {length} ms"),
            &[stall(length)],
            120,
            0,
        );
    }
    row("1, jitter 60 ms", &[jitter(60)], 120, 0);
    row("2, clean", &[C, C], 120, 0);
    for most in [20, 40, 60, 100] {
        row(&format!("2, jitter {most} ms"), &[jitter(most); 2], 120, 0);
    }
    for most in [60, 100] {
        row(
            &format!("2, the second: jitter {most} ms"),
            &[C, jitter(most)],
            120,
            0,
        );
    }
    let bursts = Person {
        jitter: Jitter::Bursts(100),
        ..C
    };
    row("2, the second: bursts up to 100 ms", &[C, bursts], 120, 0);
    for length in [80, 150, 300, 500, 1_000] {
        let name = format!("2, the second: stalls of {length} ms");
        row(&name, &[C, stall(length)], 240, 0);
    }
    row("2, one listens; stalls of 300 ms", &[stall(300), L], 240, 0);
    for length in [80, 300, 500] {
        let name = format!("3, the process is away for {length} ms");
        row(&name, &[C; 3], 240, length);
    }
    row("2, loss 1 %", &[Person { loss: 0.01, ..C }; 2], 120, 0);
    row("2, loss 10 %", &[Person { loss: 0.1, ..C }; 2], 120, 0);
    row(
        "2, one listens with DTX",
        &[C, Person { dtx: true, ..L }],
        120,
        0,
    );
    row(
        "2, the second: DTX",
        &[C, Person { dtx: true, ..C }],
        120,
        0,
    );
    row(
        "2, the second: DTX, jitter 40 ms",
        &[
            C,
            Person {
                dtx: true,
                ..jitter(40)
            },
        ],
        120,
        0,
    );
    let unordered = Person {
        reordered: 0.05,
        duplicates: 0.05,
        ..C
    };
    row("2, 5 % out of order, 5 % twice", &[unordered; 2], 120, 0);
    for (name, pts) in [
        ("no timestamps", Pts::Missing),
        ("timestamps stand", Pts::Stands),
        ("timestamps run at 1.3", Pts::Fast(1.3)),
        ("timestamps jump", Pts::Jumps),
    ] {
        row(
            &format!("2, the second: {name}, jitter 20 ms"),
            &[C, Person { pts, ..jitter(20) }],
            120,
            0,
        );
    }
    for to in [3_700, 6_000] {
        let name = format!(
            "2, the second: away for {} s of each 10 s",
            (to - 3_000) as f64 / 1e3
        );
        row(
            &name,
            &[
                C,
                Person {
                    away: Some((3_000, to)),
                    ..C
                },
            ],
            120,
            0,
        );
    }
    let drift = |ppm| Person { ppm, ..jitter(20) };
    row(
        "2, clocks 400 ppm apart, 1 h",
        &[drift(200.0), drift(-200.0)],
        3_600,
        0,
    );
    row("5, jitter 40 ms", &[jitter(40); 5], 120, 0);
    let mut many = vec![jitter(40); 5];
    many.extend(
        [Person {
            talks: false,
            ..jitter(60)
        }; 10],
    );
    many.extend([Person { dtx: true, ..L }; 5]);
    row("20, 5 talk; jitter 40 to 60 ms, 5 with DTX", &many, 120, 0);
    rows
}

/// Formats the table lines of the first two voices.
fn lines(row: &Row, way: &str, report: &Report) -> String {
    let mut text = String::new();
    for (k, voice) in report.voices.iter().take(2).enumerate() {
        let (least, most) = report.rate;
        let wire = format!(
            "{least:.3} to {most:.3} | {} to {}",
            report.behind.0 / ms(1),
            report.behind.1 / ms(1)
        );
        let late: Vec<i64> = voice
            .holes
            .iter()
            .filter(|h| h.0 >= ms(2_000))
            .map(|h| h.1)
            .collect();
        let early = voice.holes.len() - late.len();
        writeln!(
            text,
            "| {} | {} | {} | {} | {}/{} | {early} | {:.1}, {} | {:.0}/{:.0}/{:.0} | {:.0}/{:.0}/{:.0} | {:.1} | {:+} |",
            if k == 0 { &row.name } else { "" },
            if k == 0 { way } else { "" },
            if k == 0 { &wire } else { "|" },
            k + 1,
            voice.whole,
            voice.words,
            late.len() as f64 * 60.0 / row.seconds as f64,
            late.iter().max().unwrap_or(&0) / ms(1),
            quantile(&voice.late, 0.5),
            quantile(&voice.late, 0.95),
            quantile(&voice.late, 1.0),
            quantile(&voice.added, 0.5),
            quantile(&voice.added, 0.95),
            quantile(&voice.added, 1.0),
            voice.slow as f64 / f64::from(RATE),
            voice.heard - voice.delivered,
        )
        .expect("text has room");
    }
    text
}

/// Measures the µs for 20 ms of one source: in a capture of `sources`, and in streams alone.
///
/// A stream alone is the resampler and the detector.
fn cost(sources: usize, speech: &[i16], rounds: usize) -> (Spread, Spread) {
    let mut up = Resampler::new(RATE, 48_000).expect("rates in range");
    let mut microphone: Vec<i16> = Vec::new();
    up.push(speech, &mut microphone);
    let frames: Vec<&[i16]> = microphone.chunks_exact(960).collect();
    let mut capture = Capture::new(RATE, CaptureOptions::default()).expect("defaults");
    let stream = || InputStream::new(RATE, VadOptions::default()).expect("defaults");
    let mut streams: Vec<InputStream> = (0..sources).map(|_| stream()).collect();
    let (mut due, mut wire, mut events) = (Due::default(), Vec::new(), Vec::new());
    // In turns, so that a busy moment hits both.
    let mut times = [Vec::new(), Vec::new()];
    let mut k = 0;
    for _ in 0..10 {
        let from = k;
        let began = Instant::now();
        for _ in 0..rounds {
            due.clear();
            for source in 0..sources {
                let at = 0.02 * (k + 1) as f64 + 0.018 * source as f64 / sources as f64;
                let arrival = Arrival {
                    pts: Some(0.02 * k as f64),
                    ..Arrival::at(at)
                };
                let samples = Samples::Mono(black_box(frames[(k + 17 * source) % frames.len()]));
                let pushed = capture.push(source as u64, samples, 48_000, arrival, &mut due);
                pushed.expect("usable samples");
            }
            k += 1;
            black_box(&due);
        }
        let middle = Instant::now();
        for k in from..k {
            for (source, stream) in streams.iter_mut().enumerate() {
                wire.clear();
                events.clear();
                let samples = black_box(frames[(k + 17 * source) % frames.len()]);
                let pushed = stream.push(samples, 48_000, &mut wire, &mut events);
                pushed.expect("usable samples");
                black_box((&wire, &events));
            }
        }
        let each = |from: Instant, to: Instant| {
            to.duration_since(from).as_secs_f64() * 1e6 / (rounds * sources) as f64
        };
        times[0].push(each(began, middle));
        times[1].push(each(middle, Instant::now()));
    }
    let [capture, streams] = times.map(Spread::of);
    (capture, streams)
}

/// Median of several runs, with the least and the greatest.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut runs: Vec<f64>) -> Self {
        runs.sort_by(f64::total_cmp);
        Self {
            median: runs[runs.len() / 2],
            least: runs[0],
            most: runs[runs.len() - 1],
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} ({:.1} to {:.1})",
            self.median, self.least, self.most
        )
    }
}

fn main() {
    // `cargo test --benches` runs this without the flag: a little of it, to see that it works.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let speech = people::speech();
    let mut text = String::from(
        "# The way in over networks: `Capture` beside the mixer of before\n\n\
         From `cargo bench -p voice-audio --bench capture`. The number in front is that of the \
         people. They talk in words of a recording, the detector is the real one, time is simulated. \
         Jitter is even from 0 up; a stall comes once in 15 s. For the wire: its rate over 10 s, \
         least and greatest, and how far it is behind its clock (at 0 ms a frame is sent as soon as \
         its time is over), in ms. For the first two voices: words without a hole in them; holes in \
         the first 2 s, and after that per minute, with the longest in ms; delay of the samples of \
         words against the network's fastest path and against their arrival, p50/p95/max in ms; the \
         longest time with more than 60 ms of the former, in s; samples on the wire more or less \
         than arrived.\n\n\
         | people, network | way in | rate | behind | voice | words whole | holes at first | holes | \
         delay | added | slow | samples |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let rows = rows();
    let length = |row: &Row| (row.seconds * row.people.len() as i64) as f64;
    let mut progress = Progress::new(rows.iter().map(length).sum());
    for row in rows {
        let call = Call {
            busy: row.busy,
            speech: &speech,
            ..Call::new(&row.people, if measures { row.seconds } else { 12 }, 1)
        };
        for (way, wire) in [
            ("`Capture`", &mut ByCapture::new() as &mut dyn Wire),
            ("before", &mut ByEarlierMixer::default()),
        ] {
            text += &lines(&row, way, &call.run(wire));
        }
        progress.advance(length(&row), &row.name);
    }
    text += "\n## Cost\n\nµs for 20 ms of one source, 48 kHz mono of speech, on one core, and what \
             of it are resampler and detector: the median of ten runs, with the least and the \
             greatest.\n\n\
             | sources | `Capture` | resampler and detector |\n|---|---|---|\n";
    for sources in [1, 2, 5, 20] {
        let rounds = if measures { 4_000 / sources } else { 2 };
        let (capture, streams) = cost(sources, &speech, rounds);
        writeln!(text, "| {sources} | {capture} | {streams} |").expect("text has room");
    }
    print!("{text}");
    if measures {
        let publish = std::env::var("PUBLISH").is_ok_and(|value| value == "1");
        let folder = if publish {
            "benches/results"
        } else {
            "target/bench-results"
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(folder);
        std::fs::create_dir_all(&folder).expect("a folder that can be made");
        std::fs::write(folder.join("capture.md"), text).expect("a file that can be written");
        eprintln!("written to {}", folder.join("capture.md").display());
    }
}
