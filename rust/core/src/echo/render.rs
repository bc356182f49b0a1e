//! History of the render (far-end) signal of the last one to two seconds, for one suppressor.

use super::EchoReference;
use super::bands::{BANDS, Bands, ZEROS, flush};

/// Time constant, in hops, of the running mean that a modulation is measured against.
///
/// It removes the slow rise and fall that all voices share, and keeps the onsets and ends in each
/// band.
const MODULATION_MEAN_HOPS: f32 = 6.0;
/// Share of the mean over all bands that is subtracted from each band's modulation.
///
/// A modulation common to all bands tells less about the voice than one band's own.
const COMMON_MODULATION: f32 = 0.7;
/// Power below which a band is silent: -90 dBFS.
const SILENT_POWER: f32 = 1e-9;
/// Row number that stands for "no row".
const NO_ROW: i64 = i64::MIN / 4;

/// Modulation per band: the fourth root of the power minus a running mean of that root.
///
/// A root, unlike a logarithm, gives little weight to weak sounds, such as the noise between the
/// syllables of an echo.
#[derive(Debug, Clone)]
pub(super) struct Modulation {
    mean: Bands,
}

impl Modulation {
    const ZERO: Self = Self { mean: ZEROS };

    /// Makes the state for a sound that has had the same power until now.
    pub(super) fn steady(power: &Bands) -> Self {
        Self { mean: root(power) }
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> Bands {
        self.mean
    }

    /// Takes the power of the next hop and returns its modulation.
    pub(super) fn next(&mut self, power: &Bands) -> Bands {
        const STEP: f32 = 1.0 / MODULATION_MEAN_HOPS;
        let mut modulation = root(power);
        for (x, mean) in modulation.iter_mut().zip(&mut self.mean) {
            *x -= *mean;
            *mean = flush(*mean + STEP * *x);
            *x *= 1.0 - STEP;
        }
        let common = COMMON_MODULATION * mean(&modulation);
        for x in &mut modulation {
            *x = flush(*x - common);
        }
        modulation
    }
}

fn is_silent(power: &Bands) -> bool {
    power.iter().all(|&x| x < SILENT_POWER)
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

/// Render powers and modulations, in the rows (hops of the clock) of an [`EchoReference`].
pub(super) struct RenderHistory {
    /// Generation of the reference that is followed.
    generation: u64,
    powers: Rows<Bands>,
    means: Rows<Modulation>,
    /// Modulations `[band][row]`, stored twice and backwards.
    ///
    /// Those of a row and of the rows before it are contiguous.
    modulations: Box<[f32]>,
    /// Newest row copied from the reference, and newest row with sound.
    newest: i64,
    active: i64,
    /// Newest row whose modulation has been computed.
    modulated: i64,
}

/// Ring buffer of the newest rows, indexed by row number.
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

impl RenderHistory {
    /// Number of rows that a reference may be ahead of the near end.
    pub(super) const AHEAD_ROWS: usize = 128;

    /// Makes a history with the modulations of `rows` rows.
    pub(super) fn new(rows: usize) -> Self {
        // 16 more rows, for a clock that moves back.
        let modulated = rows + 16;
        Self {
            generation: 0,
            powers: Rows::new(rows + Self::AHEAD_ROWS, ZEROS),
            means: Rows::new(modulated, Modulation::ZERO),
            modulations: vec![0.0; 2 * modulated * BANDS].into(),
            newest: NO_ROW,
            active: NO_ROW,
            modulated: NO_ROW,
        }
    }

    /// Copies the rows that the reference has received since the last call.
    pub(super) fn follow(&mut self, reference: &EchoReference) {
        if self.generation != reference.generation {
            self.generation = reference.generation;
            (self.newest, self.active, self.modulated) = (NO_ROW, NO_ROW, NO_ROW);
        }
        // The newest row of the last call may have grown since.
        let from = self.newest.max(reference.newest - self.powers.len() + 1);
        for row in from..=reference.newest {
            let power = reference.power(row);
            *self.powers.at_mut(row) = *power;
            if !is_silent(power) {
                self.active = row;
            }
        }
        self.modulated = self.modulated.min(from - 1);
        self.newest = reference.newest;
    }

    /// Lists the modulations and the means that they are measured against.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let means = self.means.0.iter().flat_map(Modulation::state);
        let modulations = self.modulations.iter().copied();
        means
            .map(|x| ("far mean", x))
            .chain(modulations.map(|x| ("far modulation", x)))
            .collect()
    }

    /// Returns the newest row with sound.
    pub(super) fn active(&self) -> i64 {
        self.active
    }

    /// Returns true if `row` is silent.
    pub(super) fn is_silent(&self, row: i64) -> bool {
        is_silent(self.power(row))
    }

    /// Returns the power in a row; zero for a row outside of the history.
    pub(super) fn power(&self, row: i64) -> &Bands {
        if row <= self.newest && row > self.newest - self.powers.len() {
            self.powers.at(row)
        } else {
            &ZEROS
        }
    }

    /// Returns the mean power of a row and the one before: a window of 20 ms.
    pub(super) fn window(&self, row: i64) -> Bands {
        let (a, b) = (self.power(row - 1), self.power(row));
        let mut mean = ZEROS;
        for i in 0..BANDS {
            mean[i] = 0.5 * (a[i] + b[i]);
        }
        mean
    }

    /// Computes the modulations up to `row`.
    pub(super) fn modulate_to(&mut self, row: i64) {
        let len = self.means.len();
        // The last computed row is too old, or the clock went back beyond the history.
        if self.modulated < row - len || self.modulated > row + 8 {
            self.modulated = row - len;
            *self.means.at_mut(self.modulated) = Modulation::ZERO;
        }
        for next in self.modulated + 1..=row {
            let mut modulation = self.means.at(next - 1).clone();
            let values = modulation.next(&self.window(next));
            *self.means.at_mut(next) = modulation;
            let slot = (len - 1 - next.rem_euclid(len)) as usize;
            let (len, bands) = (
                len as usize,
                self.modulations.chunks_exact_mut(2 * len as usize),
            );
            for (band, x) in bands.zip(values) {
                band[slot] = x;
                band[slot + len] = x;
            }
        }
        self.modulated = self.modulated.max(row);
    }

    /// Returns the modulations of a band for `row` and the `n - 1` rows before it, newest first.
    pub(super) fn modulations(&self, band: usize, row: i64, n: usize) -> &[f32] {
        let len = self.means.len();
        let slot = len - 1 - row.rem_euclid(len);
        &self.modulations[2 * len as usize * band + slot as usize..][..n]
    }
}
