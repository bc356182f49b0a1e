//! Gains over time: the fade at every edge, and the ramp of the duck.

use std::f64::consts::PI;

/// The fade envelope: a raised cosine that is walked up and down one step per sample.
///
/// A position is held, not a direction, so a fade that is reversed half-way goes back from the gain
/// that it had reached: there is no step. The raised cosine has no corner at either end, which keeps
/// the fade's own spectrum narrower than a linear ramp of the same length does.
///
/// Invariant: at position `p` at least `p - 1` samples are there to play, so the way down can
/// always be walked to the end. A fade out in front of missing data needs no other rule.
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

    /// Samples that a fade to silence takes from here.
    pub(super) fn needs(&self) -> usize {
        self.position.saturating_sub(1)
    }

    /// Jumps to silence: the sound has ended on its own, at the foot of a fade.
    pub(super) fn silence(&mut self) {
        debug_assert!(
            self.position <= 1,
            "sound may only end at the foot of a fade"
        );
        self.position = 0;
    }

    /// Samples that may be played at full level before the envelope has to move.
    pub(super) fn steady(&self, available: usize, down: bool) -> usize {
        match self.position == self.full() && !down {
            // After each of them the fade must still fit: the last may leave `full - 1`.
            true => available.saturating_sub(self.full() - 1),
            false => 0,
        }
    }

    /// Gain of the next sample, of which `available` are there to play; None at silence, when
    /// `down` is wanted or nothing is there. Moves down in time for the end of what is there.
    pub(super) fn next(&mut self, available: usize, down: bool) -> Option<f32> {
        // Playing one sample at position p leaves `available - 1`, which must be p - 1 or more.
        let highest = match down {
            true => self.position.saturating_sub(1),
            false => (self.position + 1).min(self.full()),
        };
        self.position = highest.min(available);
        match self.position {
            0 => None,
            position => Some(self.gains[position]),
        }
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

    /// Plays everything there is, with `more(i)` samples arriving before sample `i`.
    fn gains(envelope: &mut Envelope, mut available: usize, n: usize) -> Vec<f32> {
        let mut out = Vec::new();
        for _ in 0..n {
            match envelope.next(available, false) {
                Some(gain) => out.push(gain),
                None => break,
            }
            available -= 1;
        }
        out
    }

    #[test]
    fn the_end_of_the_data_is_faded_while_it_exists() {
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
        let up: Vec<_> = (0..6).filter_map(|_| envelope.next(1000, false)).collect();
        let down: Vec<_> = (0..9).filter_map(|_| envelope.next(1000, true)).collect();
        assert_eq!(down, up.iter().rev().skip(1).copied().collect::<Vec<_>>());
        assert!(envelope.is_silent());
    }

    #[test]
    fn steady_stops_where_the_fade_must_begin() {
        let mut envelope = Envelope::new(10);
        let mut available = 100;
        while envelope.steady(available, false) == 0 {
            envelope.next(available, false).unwrap();
            available -= 1;
        }
        available -= envelope.steady(available, false);
        let rest = gains(&mut envelope, available, 100);
        assert_eq!(rest.len(), available);
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
