//! Predicts the sound under the fade when the audio ends unforeseen.
//!
//! A turn that is still open may be refilled at any time, so all of it is played at full level; if
//! nothing has come when the next sample is due, it is too late to fade what was played. Linear
//! prediction continues it instead: a vowel goes on as the vowel, noise falls to nothing, and value
//! and slope join without a seam. WebRTC's statistics call such samples "concealed".
//!
//! The predictor is found by Burg's method, which always gives a stable one (J. P. Burg, "Maximum
//! entropy spectral analysis", 1975; S. M. Kay, "Modern Spectral Estimation", section 7.4), with the
//! errors weighted by a parabola: unweighted, it bends the frequency of a tone of few periods
//! (D. N. Swingler, "Frequency errors in MEM processing", 1980).

/// Samples that a new one is predicted from: enough for four formants and the slope of the glottis,
/// few enough that 10 ms of sound determine them.
const ORDER: usize = 16;
/// Samples that the predictor is found from: 10 ms at 24 kHz.
const MEMORY: usize = 240;

#[derive(Debug)]
pub(super) struct Concealment {
    /// A ring of samples, without gains.
    recent: [f32; MEMORY],
    /// Place of the oldest one.
    oldest: usize,
    /// Coefficients of the newest sample, the one before it, ...
    predictor: [f64; ORDER],
    /// Samples that were played and then predicted, the newest first.
    state: [f64; ORDER],
    /// The loudest sample that the predictor was found from; no prediction exceeds it.
    peak: f64,
    active: bool,
}

impl Concealment {
    pub(super) fn new() -> Self {
        Self {
            recent: [0.0; MEMORY],
            oldest: 0,
            predictor: [0.0; ORDER],
            state: [0.0; ORDER],
            peak: 0.0,
            active: false,
        }
    }

    /// Samples that a prediction looks at: only the last ones before the data end have to be noted.
    pub(super) fn reach(&self) -> usize {
        MEMORY
    }

    /// Notes a sample that is played.
    pub(super) fn remember(&mut self, sample: f32) {
        self.recent[self.oldest] = sample;
        self.oldest = (self.oldest + 1) % MEMORY;
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// The next predicted sample.
    pub(super) fn next(&mut self) -> f32 {
        if !self.active {
            self.begin();
        }
        let terms = self.predictor.iter().zip(&self.state);
        let sum: f64 = terms.map(|(a, x)| a * x).sum();
        let sample = sum.clamp(-self.peak, self.peak);
        self.state.rotate_right(1);
        self.state[0] = sample;
        sample as f32
    }

    pub(super) fn end(&mut self) {
        self.active = false;
    }

    fn begin(&mut self) {
        let mut signal = [0.0; MEMORY];
        let (newer, older) = self.recent.split_at(self.oldest);
        let in_order = older.iter().chain(newer);
        for (x, &sample) in signal.iter_mut().zip(in_order) {
            *x = f64::from(sample);
        }
        self.predictor = burg(&signal);
        self.peak = signal.iter().fold(0.0, |peak, x| peak.max(x.abs()));
        let newest = signal.iter().rev();
        self.state.iter_mut().zip(newest).for_each(|(s, &x)| *s = x);
        self.active = true;
    }
}

/// The coefficients that predict a sample of `signal` from those before it, the newest first.
fn burg(signal: &[f64; MEMORY]) -> [f64; ORDER] {
    let (mut forward, mut backward) = (*signal, *signal);
    let mut predictor = [0.0; ORDER];
    for order in 0..ORDER {
        // Errors of prediction from both sides, which the next coefficient makes least.
        let ahead = &mut forward[order + 1..];
        let behind = &mut backward[..MEMORY - 1 - order];
        let (mut cross, mut energy) = (0.0, 0.0);
        let last = ahead.len();
        for (n, (f, b)) in ahead.iter().zip(behind.iter()).enumerate() {
            let weight = ((n + 1) * (last - n)) as f64;
            cross += weight * f * b;
            energy += weight * (f * f + b * b);
        }
        if energy < 1e-12 {
            // It is predicted without an error.
            break;
        }
        let reflection = 2.0 * cross / energy;
        let known = predictor;
        predictor[order] = reflection;
        for i in 0..order {
            predictor[i] -= reflection * known[order - 1 - i];
        }
        for (f, b) in ahead.iter_mut().zip(behind) {
            (*f, *b) = (*f - reflection * *b, *b - reflection * *f);
        }
    }
    predictor
}

#[cfg(test)]
mod tests {
    use super::*;

    fn continued(signal: impl Fn(f64) -> f64, n: usize) -> Vec<f64> {
        let mut concealment = Concealment::new();
        (0..1000).for_each(|i| concealment.remember(signal(f64::from(i)) as f32));
        assert!(!concealment.is_active());
        let out = (0..n).map(|_| f64::from(concealment.next())).collect();
        assert!(concealment.is_active());
        out
    }

    #[test]
    fn tones_go_on_as_they_were() {
        let chord = |t: f64| 0.3 * (0.116 * t).sin() + 0.2 * (0.41 * t + 1.0).sin();
        for (i, y) in continued(chord, 120).into_iter().enumerate() {
            let want = chord(1000.0 + i as f64);
            assert!((y - want).abs() < 0.001, "{i}: {y}, {want}");
        }
    }

    #[test]
    fn a_constant_stays_and_silence_is_silent() {
        assert!(
            continued(|_| 0.5, 120)
                .iter()
                .all(|y| (y - 0.5).abs() < 1e-3)
        );
        assert!(continued(|_| 0.0, 120).iter().all(|&y| y == 0.0));
    }

    #[test]
    fn nothing_grows() {
        for hz in 1..40 {
            for signal in [
                |t: f64, w: f64| (w * t * t * 1e-3).sin(),
                |t: f64, w: f64| (w * t).sin().signum(),
                |t: f64, w: f64| (t * 12.9898 * w).sin() * 43_758.5 % 1.0,
                |t: f64, w: f64| if t as i64 % 97 == 0 { w } else { 0.0 },
            ] {
                let w = f64::from(hz) * 0.05;
                let peak = (760..1000).fold(0.0, |p: f64, t| p.max(signal(f64::from(t), w).abs()));
                let out = continued(|t| signal(t, w), 2_000);
                assert!(out.iter().all(|y| y.abs() <= peak + 1e-6), "{hz}");
            }
        }
    }

    #[test]
    fn it_begins_anew_after_an_end() {
        let mut concealment = Concealment::new();
        (0..300).for_each(|_| concealment.remember(0.5));
        concealment.next();
        concealment.end();
        (0..300).for_each(|_| concealment.remember(-0.25));
        assert!((concealment.next() + 0.25).abs() < 1e-3);
    }
}
