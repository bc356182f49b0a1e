//! Gains over time: the fade at every edge, and the ramp of the duck.

use std::f64::consts::PI;

/// The fade envelope: a raised cosine that is walked up and down one step per sample.
///
/// A position is held, not a direction, so a fade that is reversed half-way goes back from the gain
/// that it had reached: there is no step. The raised cosine has no corner at either end, which keeps
/// the fade's own spectrum narrower than a linear ramp of the same length does.
///
/// Where the end of the sound is known, it is reached at the foot of the fade. Where it comes
/// unforeseen, [`Concealment`](super::concealment::Concealment) gives the fade something to fade.
#[derive(Debug)]
pub(super) struct Envelope {
    /// Gain at each position, from 0 at silence to 1 at full level.
    gains: Box<[f32]>,
    /// Position of the newest sample; 0 is silence.
    position: usize,
}

impl Envelope {
    /// An envelope with `steps` samples between silence and full level.
    pub(super) fn new(steps: usize) -> Self {
        let last = steps + 1;
        let gain = |i| (0.5 - 0.5 * (PI * i as f64 / last as f64).cos()) as f32;
        Self {
            gains: (0..=last).map(gain).collect(),
            position: 0,
        }
    }

    fn full(&self) -> usize {
        self.gains.len() - 1
    }

    pub(super) fn is_silent(&self) -> bool {
        self.position == 0
    }

    /// Goes to silence without a fade: nobody hears it.
    pub(super) fn silence(&mut self) {
        self.position = 0;
    }

    /// Samples that a fade to silence takes from here.
    pub(super) fn needs(&self) -> usize {
        self.position.saturating_sub(1)
    }

    /// Samples that may be played at full level before the envelope has to move; `left` are to come
    /// in all, None if that is not known.
    pub(super) fn steady(&self, left: Option<usize>, down: bool) -> usize {
        match self.position == self.full() && !down {
            // After each of them the fade must still fit: the last may leave `full - 1`.
            true => left.map_or(usize::MAX, |left| left.saturating_sub(self.full() - 1)),
            false => 0,
        }
    }

    /// Gain of the next sample, of which `left` are to come in all, None if that is not known.
    /// None at silence, when `down` is wanted.
    pub(super) fn next(&mut self, left: Option<usize>, down: bool) -> Option<f32> {
        let lower = self.position.saturating_sub(1);
        let aim = match down {
            true => lower,
            false => (self.position + 1).min(self.full()),
        };
        // Playing one sample at position p leaves `left - 1`, which should be p - 1 or more. If the
        // end has become known too late for that, go down all the same, step by step.
        self.position = left.map_or(aim, |left| aim.min(left.max(lower)));
        match self.position {
            0 => None,
            position => Some(self.gains[position]),
        }
    }

    /// Gain of the next sample on the way down; None at silence.
    pub(super) fn fall(&mut self) -> Option<f32> {
        self.next(None, true)
    }
}

/// A gain that moves to its aim in a straight line.
#[derive(Debug)]
pub(super) struct Gain {
    value: f32,
    aim: f32,
    /// Change per sample while moving.
    step: f32,
    /// Samples until the aim is reached.
    left: usize,
    ramp: usize,
}

impl Gain {
    /// Unity gain whose moves take `ramp` samples.
    pub(super) fn new(ramp: usize) -> Self {
        Self {
            value: 1.0,
            aim: 1.0,
            step: 0.0,
            left: 0,
            ramp,
        }
    }

    /// Starts to move from the current gain.
    pub(super) fn aim(&mut self, aim: f32) {
        if aim != self.aim {
            self.aim = aim;
            self.left = self.ramp;
            self.step = (aim - self.value) / self.ramp as f32;
        }
    }

    pub(super) fn value(&self) -> f32 {
        self.value
    }

    pub(super) fn is_settled(&self) -> bool {
        self.left == 0
    }

    /// Jumps to the aim: nobody hears it.
    pub(super) fn settle(&mut self) {
        self.left = 0;
        self.value = self.aim;
    }

    /// Gain of the next sample.
    pub(super) fn next(&mut self) -> f32 {
        match self.left {
            0 => {}
            1 => self.settle(),
            _ => {
                self.left -= 1;
                self.value += self.step;
            }
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `n` samples at most of those that are left, until silence.
    fn gains(envelope: &mut Envelope, mut left: usize, n: usize) -> Vec<f32> {
        let mut out = Vec::new();
        for _ in 0..n.min(left) {
            match envelope.next(Some(left), false) {
                Some(gain) => out.push(gain),
                None => break,
            }
            left -= 1;
        }
        out
    }

    #[test]
    fn the_known_end_of_the_data_is_faded_while_it_exists() {
        let mut envelope = Envelope::new(5);
        let out = gains(&mut envelope, 20, 100);
        assert_eq!(out.len(), 20);
        assert_eq!(
            out[..5],
            out.iter().rev().take(5).copied().collect::<Vec<_>>()[..]
        );
        assert_eq!(out[5..15], [1.0; 10]);
        assert!(out.iter().all(|&g| g > 0.0));
    }

    #[test]
    fn an_end_that_becomes_known_too_late_is_approached_step_by_step() {
        let mut envelope = Envelope::new(5);
        let up: Vec<_> = (0..6).filter_map(|_| envelope.next(None, false)).collect();
        assert_eq!(up[5], 1.0);
        let late = gains(&mut envelope, 3, 100);
        let rest: Vec<_> = std::iter::from_fn(|| envelope.fall()).collect();
        let down: Vec<_> = up[..5].iter().rev().copied().collect();
        assert_eq!([late, rest].concat(), down);
        assert!(envelope.is_silent());
    }

    #[test]
    fn too_little_data_gives_a_smaller_arch() {
        let mut envelope = Envelope::new(100);
        let out = gains(&mut envelope, 9, 100);
        assert_eq!(out.len(), 9);
        let peak = out[4];
        assert!(out.iter().all(|&g| g <= peak) && peak < 0.05);
    }

    #[test]
    fn a_reversed_fade_goes_back_from_where_it_was() {
        let mut envelope = Envelope::new(10);
        let up: Vec<_> = (0..6).filter_map(|_| envelope.next(None, false)).collect();
        let down: Vec<_> = (0..9).filter_map(|_| envelope.next(None, true)).collect();
        assert_eq!(down, up.iter().rev().skip(1).copied().collect::<Vec<_>>());
        assert!(envelope.is_silent());
    }

    #[test]
    fn steady_stops_where_the_fade_must_begin() {
        let mut envelope = Envelope::new(10);
        let mut left = 100;
        while envelope.steady(Some(left), false) == 0 {
            envelope.next(Some(left), false).unwrap();
            left -= 1;
        }
        assert_eq!(envelope.steady(None, false), usize::MAX);
        left -= envelope.steady(Some(left), false);
        let rest = gains(&mut envelope, left, 100);
        assert_eq!(rest.len(), left);
        assert!(rest[0] < 1.0 && rest[0] > 0.95);
    }

    #[test]
    fn a_ramp_that_is_turned_around_has_no_step() {
        let mut gain = Gain::new(10);
        let mut last = 1.0;
        for (i, aim) in [(4, 0.1), (3, 1.0), (20, 0.5)] {
            gain.aim(aim);
            for _ in 0..i {
                let next = gain.next();
                assert!((next - last).abs() <= 0.1);
                last = next;
            }
        }
        assert_eq!(last, 0.5);
    }
}
