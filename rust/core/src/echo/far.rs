//! The far end, as a guard knows it: what was played in the last second or two.

use super::EchoReference;
use super::bands::{BANDS, Bands, NOTHING, flush};

/// Time constant, in hops, of what a movement is measured against. The slow rise and fall of a
/// voice, which all voices share, goes out; what begins and ends in each band stays.
const SLOW_HOPS: f32 = 6.0;
/// Part of the mean over all bands that is taken out of a movement: what all bands do together says
/// less than what each does alone.
const COMMON: f32 = 0.7;
/// Bands with less power are silent: -90 dBFS.
const SILENT: f32 = 1e-9;
/// A row that is not known.
const NEVER: i64 = i64::MIN / 4;

/// How a sound moves, band by band: the fourth root of its power less a running mean of the same.
/// A root, unlike a logarithm, gives little weight to what is weak, such as the noise between the
/// syllables of an echo.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    mean: Bands,
}

impl Movement {
    const STILL: Self = Self { mean: NOTHING };

    /// Of a sound that has always been what it is now.
    pub(super) fn settled(power: &Bands) -> Self {
        Self { mean: root(power) }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> Bands {
        self.mean
    }

    /// Of the next hop.
    pub(super) fn next(&mut self, power: &Bands) -> Bands {
        const STEP: f32 = 1.0 / SLOW_HOPS;
        let mut movement = root(power);
        for (x, mean) in movement.iter_mut().zip(&mut self.mean) {
            *x -= *mean;
            *mean = flush(*mean + STEP * *x);
            *x *= 1.0 - STEP;
        }
        let common = COMMON * mean(&movement);
        for x in &mut movement {
            *x = flush(*x - common);
        }
        movement
    }
}

fn is_silent(power: &Bands) -> bool {
    power.iter().all(|&x| x < SILENT)
}

fn root(power: &Bands) -> Bands {
    let mut root = *power;
    for x in &mut root {
        *x = x.sqrt().sqrt();
    }
    root
}

fn mean(bands: &Bands) -> f32 {
    let mut sums = [0.0; 8];
    for row in bands.chunks_exact(8) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    sums.iter().sum::<f32>() * (1.0 / BANDS as f32)
}

/// What was played, by the rows of an [`EchoReference`].
pub(super) struct FarEnd {
    /// Of the reference that is followed.
    stamp: u64,
    powers: Rows<Bands>,
    means: Rows<Movement>,
    /// Movements `[band][row]`, twice and backwards: those of a row and of the rows before it lie
    /// side by side.
    movements: Box<[f32]>,
    /// Newest row that the reference has given, and newest in which something was played.
    known: i64,
    active: i64,
    /// Newest row that has its movement.
    described: i64,
}

/// The newest rows of something, in a ring.
pub(super) struct Rows<T>(Box<[T]>);

impl<T: Clone> Rows<T> {
    pub(super) fn new(len: usize, value: T) -> Self {
        Self(vec![value; len].into())
    }

    pub(super) fn len(&self) -> i64 {
        self.0.len() as i64
    }

    fn slot(&self, row: i64) -> usize {
        row.rem_euclid(self.len()) as usize
    }

    pub(super) fn at(&self, row: i64) -> &T {
        &self.0[self.slot(row)]
    }

    pub(super) fn at_mut(&mut self, row: i64) -> &mut T {
        let slot = self.slot(row);
        &mut self.0[slot]
    }
}

impl FarEnd {
    /// Rows that a reference may be ahead.
    pub(super) const AHEAD: usize = 128;

    /// With movements of `rows` rows.
    pub(super) fn new(rows: usize) -> Self {
        // A few more, for a clock that moves back.
        let described = rows + 16;
        Self {
            stamp: 0,
            powers: Rows::new(rows + Self::AHEAD, NOTHING),
            means: Rows::new(described, Movement::STILL),
            movements: vec![0.0; 2 * described * BANDS].into(),
            known: NEVER,
            active: NEVER,
            described: NEVER,
        }
    }

    /// Takes over what the reference has got since the last call.
    pub(super) fn follow(&mut self, reference: &EchoReference) {
        if self.stamp != reference.stamp {
            self.stamp = reference.stamp;
            (self.known, self.active, self.described) = (NEVER, NEVER, NEVER);
        }
        // The newest row of the last call may have grown since.
        let from = self.known.max(reference.newest - self.powers.len() + 1);
        for row in from..=reference.newest {
            let power = reference.power(row);
            *self.powers.at_mut(row) = *power;
            if !is_silent(power) {
                self.active = row;
            }
        }
        self.described = self.described.min(from - 1);
        self.known = reference.newest;
    }

    /// Lists the movements and the means that they are measured against.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let means = self.means.0.iter().flat_map(Movement::state);
        let movements = self.movements.iter().copied();
        means
            .map(|x| ("far mean", x))
            .chain(movements.map(|x| ("far movement", x)))
            .collect()
    }

    /// Newest row in which something was played.
    pub(super) fn active(&self) -> i64 {
        self.active
    }

    /// Nothing was played in a row.
    pub(super) fn is_silent(&self, row: i64) -> bool {
        is_silent(self.power(row))
    }

    /// Power in a row; nothing where nothing is known.
    pub(super) fn power(&self, row: i64) -> &Bands {
        if row <= self.known && row > self.known - self.powers.len() {
            self.powers.at(row)
        } else {
            &NOTHING
        }
    }

    /// Mean power in a row and in the one before.
    pub(super) fn window(&self, row: i64) -> Bands {
        let (a, b) = (self.power(row - 1), self.power(row));
        let mut mean = NOTHING;
        for i in 0..BANDS {
            mean[i] = 0.5 * (a[i] + b[i]);
        }
        mean
    }

    /// Makes the movements up to `row`.
    pub(super) fn describe(&mut self, row: i64) {
        let len = self.means.len();
        // Too long ago, or the clock went back by more than is kept.
        if self.described < row - len || self.described > row + 8 {
            self.described = row - len;
            *self.means.at_mut(self.described) = Movement::STILL;
        }
        for next in self.described + 1..=row {
            let mut movement = self.means.at(next - 1).clone();
            let values = movement.next(&self.window(next));
            *self.means.at_mut(next) = movement;
            let slot = (len - 1 - next.rem_euclid(len)) as usize;
            let (len, bands) = (
                len as usize,
                self.movements.chunks_exact_mut(2 * len as usize),
            );
            for (band, x) in bands.zip(values) {
                band[slot] = x;
                band[slot + len] = x;
            }
        }
        self.described = self.described.max(row);
    }

    /// Movements of a band: of `row`, and of the `n - 1` rows before it, backwards.
    pub(super) fn movements(&self, band: usize, row: i64, n: usize) -> &[f32] {
        let len = self.means.len();
        let slot = len - 1 - row.rem_euclid(len);
        &self.movements[2 * len as usize * band + slot as usize..][..n]
    }
}
