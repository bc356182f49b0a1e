//! Model of people and networks that checks the wire, shared by unit tests and the bench.
//!
//! Each [`Person`] says words. Every sample of a word carries the code of its lane: bits of its own
//! within the sample, so that each voice can be found in the sum, sample by sample, and the n-th
//! delivered sample is the n-th received one. The person's network delays, loses, repeats and
//! reorders packets of 20 ms; [`Call::run`] hands them to a [`Wire`] as they arrive, lets time pass
//! in between, and compares the output with the words.

/// Number of samples of a packet and of a wire frame: 20 ms at 16 kHz.
pub const FRAME: usize = 320;

/// Converts milliseconds to samples.
pub const fn ms(ms: i64) -> i64 {
    ms * 16
}

/// Random generator, xorshift64*: the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Draws a number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.unit() * (high - low + 1) as f64) as i64
    }
}

/// Timestamps of a sender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pts {
    True,
    Missing,
    Stands,
    /// Timestamps that run fast by this factor.
    Fast(f64),
    /// Timestamps that jump by 10 s, once in 5 s.
    Jumps,
}

/// Delay of the packets beyond the fastest path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// Delay evenly distributed from 0 to this many milliseconds.
    Uniform(i64),
    /// Stalls of up to this many milliseconds, two in a second on average.
    Bursts(i64),
}

/// Person in a call, and their network.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// True if the person says words; otherwise they send silence.
    pub talks: bool,
    pub jitter: Jitter,
    /// Length and period of stalls in milliseconds, after which all packets arrive at once.
    pub stall: Option<(i64, i64)>,
    /// Share of packets that are lost.
    pub loss: f64,
    /// Share of packets that arrive a second time, up to 30 ms later.
    pub duplicates: f64,
    /// Share of packets that arrive 30 ms late, after the next ones.
    pub reordered: f64,
    /// True for discontinuous transmission: in silence only a frame each 400 ms is sent.
    pub dtx: bool,
    /// Drift of the person's clock in millionths; positive is fast.
    pub ppm: f64,
    pub pts: Pts,
    /// Part of each 10 s, in milliseconds, in which the person sends nothing.
    pub away: Option<(i64, i64)>,
}

impl Person {
    /// Person who talks, without any delay of packets.
    pub const CLEAN: Self = Self {
        talks: true,
        jitter: Jitter::Uniform(0),
        stall: None,
        loss: 0.0,
        duplicates: 0.0,
        reordered: 0.0,
        dtx: false,
        ppm: 0.0,
        pts: Pts::True,
        away: None,
    };
    /// Person who is silent, without any delay of packets.
    pub const LISTENS: Self = Self {
        talks: false,
        ..Self::CLEAN
    };
}

#[derive(Debug, Clone)]
struct Packet {
    person: usize,
    /// Position of the first sample, in the person's own count.
    position: i64,
    /// Arrival time on the fastest path.
    ideal: i64,
    arrives: i64,
    pts: Option<i64>,
    samples: Vec<i16>,
    speech: bool,
}

/// Comparison of one voice on the wire with the person's words.
#[derive(Debug, Default, Clone)]
pub struct Voice {
    pub words: usize,
    pub whole: usize,
    /// Silence on the wire inside of words: (time, samples).
    pub holes: Vec<(i64, i64)>,
    /// Samples of speech delivered by the network, and received from the wire.
    pub delivered: i64,
    pub heard: i64,
    /// Delays of the samples of words after the fastest path, and after their arrival.
    pub late: Vec<i64>,
    pub added: Vec<i64>,
    /// Longest time in which every sample of a word was at least 60 ms later than the fastest path.
    pub slow: i64,
}

#[derive(Debug, Default, Clone)]
pub struct Report {
    pub voices: Vec<Voice>,
    /// Rate of the wire over 10 s: least and greatest; 1 is exact.
    pub rate: (f64, f64),
    /// Least and greatest lag of the wire behind the clock, in samples, after a second.
    pub behind: (i64, i64),
}

/// Draws words in phrases: (from, to).
fn talk(person: usize, length: i64, talks: bool, rng: &mut Rng) -> Vec<(i64, i64)> {
    let mut words = Vec::new();
    let mut at = ms(300 + 500 * (person as i64 % 7));
    while talks && at < length - ms(3_000) {
        for _ in 0..rng.between(3, 8) {
            let word = ms(rng.between(250, 600));
            words.push((at, at + word));
            at += word + ms(rng.between(60, 150));
        }
        at += ms(rng.between(600, 2_500));
    }
    words.retain(|w| w.1 < length - ms(2_000));
    words
}

/// Words as (from, to), in the person's samples.
type Words = Vec<(i64, i64)>;

/// System under test, which turns arrivals into frames.
pub trait Wire {
    fn push(&mut self, person: usize, samples: &[i16], pts: Option<i64>, now: i64, speech: bool);
    fn advance(&mut self, now: i64);
    /// Returns when to advance if nothing is pushed before.
    fn next_advance(&self) -> Option<i64>;
    /// Passes each due wire frame to `each`.
    fn take(&mut self, each: &mut dyn FnMut(&[i16; FRAME]));
}

/// Reads a recording without its pauses, for [`Call::speech`], from which words are cut.
pub fn speech() -> Vec<i16> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../python/getstream/plugins/gemini/data/speech.wav");
    let mut reader = hound::WavReader::open(file).expect("the recording is there");
    let samples: Vec<i16> = reader.samples().map(|x| x.expect("a whole file")).collect();
    let loud = |frame: &&[i16]| frame.iter().any(|x| x.unsigned_abs() > 3_000);
    samples
        .chunks_exact(FRAME)
        .filter(loud)
        .flatten()
        .copied()
        .collect()
}

/// Call: its participants, its duration, and the load of its process.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub people: &'a [Person],
    pub seconds: i64,
    pub seed: u64,
    /// Period in samples at which time passes when nothing arrives; None: when the wire asks for it.
    pub tick: Option<i64>,
    /// Length and period in milliseconds of stalls of the process.
    ///
    /// Packets are then handed in sender by sender, and timers are late, too.
    pub busy: (i64, i64),
    /// Sound of the words, with the codes in the low byte; if empty, words are the codes alone.
    pub speech: &'a [i16],
}

impl<'a> Call<'a> {
    /// Makes a call of `people` in a process without stalls.
    pub fn new(people: &'a [Person], seconds: i64, seed: u64) -> Self {
        Self {
            people,
            seconds,
            seed,
            tick: None,
            busy: (0, 1),
            speech: &[],
        }
    }

    /// Returns the number of bits of a sample that carry one person's code.
    fn lane_width(&self) -> usize {
        let bits = if self.speech.is_empty() { 14 } else { 8 };
        let talkers = self.people.iter().filter(|p| p.talks).count().max(1);
        assert!(talkers <= bits, "{bits} voices fit into a sample");
        (bits / talkers).min(7)
    }

    /// Returns the sample of a word at `position` of the `lane`-th voice.
    fn sample(&self, position: usize, lane: usize) -> i16 {
        let width = self.lane_width();
        let code = 1 + position % ((1 << width) - 1).max(1);
        let code = (code << (lane * width)) as i16;
        if self.speech.is_empty() {
            return code;
        }
        // All voices together stay below the knee of the mixer, where the sum is exact.
        let talkers = self.people.iter().filter(|p| p.talks).count() as i16;
        let sound = self.speech[(position + 40_000 * lane) % self.speech.len()] / (talkers + 1);
        (sound & !0xff) | code
    }

    /// Returns all packets in order of arrival, and the words of each person.
    fn packets(&self) -> (Vec<Packet>, Vec<Words>) {
        let Self {
            people,
            seconds,
            seed,
            ..
        } = *self;
        let mut all = Vec::new();
        let mut spoken = Vec::new();
        let mut lane = 0;
        for (index, person) in people.iter().enumerate() {
            let mut rng = Rng(seed ^ (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let length = ms(1_000 * seconds);
            let words = talk(index, length, person.talks, &mut rng);
            let mut speech = vec![false; (length + ms(200)) as usize];
            for &(from, to) in &words {
                speech[from as usize..to as usize].fill(true);
            }
            // Model of a detector: a frame late, with a hangover of 100 ms.
            let frames = (length / FRAME as i64) as usize;
            let flag = |k: usize| {
                let from = (k * FRAME).saturating_sub(1_600);
                let to = ((k + 1) * FRAME).saturating_sub(FRAME);
                speech[from..to.max(from)].iter().any(|&x| x)
            };
            let phase = ms(3) * index as i64;
            let (mut burst_until, mut last) = (0, 0);
            let mut dtx_sent = i64::MIN / 2;
            let mut jump = 0;
            for k in 0..frames {
                let position = (k * FRAME) as i64;
                let value = |i: usize| match speech[k * FRAME + i] {
                    true => self.sample(k * FRAME + i, lane),
                    false => 0,
                };
                let samples: Vec<i16> = (0..FRAME).map(value).collect();
                let sounds = samples.iter().any(|&x| x != 0);
                let end = position + FRAME as i64;
                let ideal = phase + end - (end as f64 * person.ppm * 1e-6) as i64;
                if person
                    .away
                    .is_some_and(|(from, to)| (from..to).contains(&(ideal / 16 % 10_000)))
                {
                    continue;
                }
                if person.dtx && !flag(k) && !sounds {
                    if position - dtx_sent < ms(400) {
                        continue;
                    }
                    dtx_sent = position;
                }
                if position % ms(5_000) == 0 {
                    jump += ms(10_000);
                }
                let pts = match person.pts {
                    Pts::True => Some(position + 77),
                    Pts::Missing => None,
                    Pts::Stands => Some(77),
                    Pts::Fast(by) => Some((position as f64 * by) as i64),
                    Pts::Jumps => Some(position + jump),
                };
                let mut arrives = ideal;
                match person.jitter {
                    Jitter::Uniform(most) => arrives += (rng.unit() * ms(most) as f64) as i64,
                    Jitter::Bursts(most) => {
                        if rng.unit() < 0.04 {
                            burst_until =
                                burst_until.max(ideal + (rng.unit() * ms(most) as f64) as i64);
                        }
                        arrives = arrives.max(burst_until);
                    }
                }
                if let Some((stall, every)) = person.stall {
                    let within = ideal % ms(every);
                    if ideal > ms(every) && within < ms(stall) {
                        arrives = arrives.max(ideal - within + ms(stall));
                    }
                }
                let lost = rng.unit() < person.loss;
                let twice = rng.unit() < person.duplicates;
                if rng.unit() < person.reordered {
                    arrives += ms(30);
                } else {
                    arrives = arrives.max(last);
                    last = arrives;
                }
                if lost {
                    continue;
                }
                let packet = Packet {
                    person: index,
                    position,
                    ideal,
                    arrives,
                    pts,
                    samples,
                    speech: flag(k),
                };
                if twice {
                    all.push(Packet {
                        arrives: arrives + ms(rng.between(0, 30)),
                        ..packet.clone()
                    });
                }
                all.push(packet);
            }
            spoken.push(words);
            lane += usize::from(person.talks);
        }
        all.sort_by_key(|p| p.arrives);
        (all, spoken)
    }

    /// Sends the people's packets through `wire` and finds them in its output.
    pub fn run(&self, wire: &mut dyn Wire) -> Report {
        let Self {
            people, tick, busy, ..
        } = *self;
        let width = self.lane_width();
        let (mut packets, spoken) = self.packets();
        let busy_until = |t: i64| (t - t % ms(busy.1) + ms(busy.0)).max(t);
        for packet in &mut packets {
            packet.arrives = busy_until(packet.arrives);
        }
        packets.sort_by_key(|p| (p.arrives, p.person));
        // For each voice and received sample: its position on the wire, and when it was sent.
        let lanes: Vec<usize> = (0..people.len()).filter(|&i| people[i].talks).collect();
        let mut heard: Vec<Vec<(i64, i64)>> = vec![Vec::new(); lanes.len()];
        let mut emitted: Vec<i64> = Vec::new();
        let mut look = |wire: &mut dyn Wire, now: i64| {
            wire.take(&mut |frame| {
                let at = (emitted.len() * FRAME) as i64;
                emitted.push(now);
                for (i, &x) in frame.iter().enumerate() {
                    for (lane, heard) in heard.iter_mut().enumerate() {
                        if (x >> (lane * width)) & ((1 << width) - 1) != 0 {
                            heard.push((at + i as i64, now));
                        }
                    }
                }
            });
        };
        let mut clock = 0;
        // The next time at which time passes, by a timer that is never early.
        let timer = |wire: &dyn Wire, clock: i64| match tick {
            Some(tick) => busy_until(clock + tick),
            None => wire
                .next_advance()
                .map_or(i64::MAX, |at| busy_until(at.max(clock + 1))),
        };
        for packet in &packets {
            loop {
                let at = timer(wire, clock);
                if at >= packet.arrives {
                    break;
                }
                clock = at;
                wire.advance(clock);
                look(wire, clock);
            }
            wire.push(
                packet.person,
                &packet.samples,
                packet.pts,
                packet.arrives,
                packet.speech,
            );
            look(wire, packet.arrives);
        }
        let end = clock + ms(4_000);
        loop {
            clock = timer(wire, clock);
            if clock > end {
                break;
            }
            wire.advance(clock);
            look(wire, clock);
        }
        let mut report = Report {
            rate: (f64::MAX, 0.0),
            behind: (i64::MAX, i64::MIN),
            ..Report::default()
        };
        let last = packets.last().map_or(0, |p| p.arrives);
        let mut t = ms(1_000);
        while t + ms(10_000) < last {
            let from = emitted.partition_point(|&e| e < t);
            let to = emitted.partition_point(|&e| e < t + ms(10_000));
            let rate = (to - from) as f64 / 500.0;
            report.rate = (report.rate.0.min(rate), report.rate.1.max(rate));
            let behind = t - (from * FRAME) as i64 - emitted.first().copied().unwrap_or(0);
            report.behind = (report.behind.0.min(behind), report.behind.1.max(behind));
            t += ms(100) + 7;
        }
        for (&person, heard) in lanes.iter().zip(&heard) {
            report
                .voices
                .push(voice(person, &packets, &spoken[person], heard));
        }
        report
    }
}

/// Compares one person's words with the received samples.
fn voice(person: usize, packets: &[Packet], words: &[(i64, i64)], heard: &[(i64, i64)]) -> Voice {
    let mut mine: Vec<&Packet> = packets.iter().filter(|p| p.person == person).collect();
    mine.sort_by_key(|p| p.position);
    mine.dedup_by_key(|p| p.position);
    // Each delivered sample of speech, in order; the n-th of them is the n-th received one.
    let mut media = Vec::new();
    for packet in mine {
        for (i, &x) in packet.samples.iter().enumerate() {
            if x != 0 {
                media.push((packet.position + i as i64, packet.ideal, packet.arrives));
            }
        }
    }
    let mut voice = Voice {
        words: words.len(),
        delivered: media.len() as i64,
        heard: heard.len() as i64,
        ..Voice::default()
    };
    let mut torn = vec![false; words.len()];
    let mut word = 0;
    let (mut slow_since, mut in_order) = (None, 0);
    for n in 0..media.len().min(heard.len()) {
        let (position, ideal, arrives) = media[n];
        let (at, now) = heard[n];
        while word < words.len() && words[word].1 <= position {
            word += 1;
        }
        in_order = in_order.max(arrives);
        if n > 0 && media[n - 1].0 >= words[word].0 {
            let hole = (at - heard[n - 1].0) - (position - media[n - 1].0);
            if hole > 0 {
                voice.holes.push((now, hole));
                torn[word] = true;
            }
        }
        if position % 160 == 0 {
            voice.late.push(now - ideal);
            voice.added.push(now - in_order);
        }
        if now - ideal >= ms(60) {
            voice.slow = voice.slow.max(now - *slow_since.get_or_insert(now));
        } else {
            slow_since = None;
        }
    }
    voice.whole = torn.iter().filter(|torn| !**torn).count();
    voice.late.sort_unstable();
    voice.added.sort_unstable();
    voice
}

/// Returns a quantile of sorted samples, in milliseconds.
pub fn quantile(sorted: &[i64], q: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n => sorted[((n - 1) as f64 * q).round() as usize] as f64 / 16.0,
    }
}
