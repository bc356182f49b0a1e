//! Noise floor of the near end: the level of its stationary background sound.

use super::bands::{BANDS, Bands, Powers, decibels, flush};

/// Least noise floor of a band, as a power: -85 dBFS, and -70 dBFS over all bands.
pub(super) const MIN_BAND_POWER: f32 = 3.2e-9;
const MIN_TOTAL_POWER: f32 = BANDS as f32 * MIN_BAND_POWER;
/// Number of hops over which a level is smoothed: 50 ms.
const SMOOTHING_HOPS: u32 = 5;
/// Factor by which the floor rises per hop while the input is louder: 2 dB per second.
///
/// The floor falls at once. Speech drops to the noise floor between words ("minimum statistics",
/// R. Martin, IEEE Trans. SAP 9 (5), 2001).
const RISE_PER_HOP: f32 = 1.0046;

/// Estimate of the noise floor of the near end, per band.
#[derive(Debug, Clone)]
pub(super) struct NoiseFloor {
    smooth: Powers,
    floor: Powers,
    db: Bands,
    hops: u32,
}

impl NoiseFloor {
    pub(super) fn new() -> Self {
        Self {
            smooth: Powers::SILENCE,
            floor: Powers::SILENCE,
            db: [decibels(MIN_BAND_POWER); BANDS],
            hops: 0,
        }
    }

    /// Updates the estimate with one hop.
    ///
    /// `rises` is false if the hop is known to contain something else than background noise; the
    /// floor may then fall, but not rise.
    pub(super) fn step(&mut self, near: &Powers, rises: bool) {
        self.hops = (self.hops + 1).min(SMOOTHING_HOPS);
        let rate = 1.0 / self.hops as f32;
        self.smooth = self.smooth.mixed(1.0 - rate, near, rate);
        for x in &mut self.smooth.bands {
            *x = flush(*x);
        }
        self.smooth.total = flush(self.smooth.total);
        if self.hops < SMOOTHING_HOPS {
            self.floor = self.smooth;
        }
        let rise = if rises { RISE_PER_HOP } else { 1.0 };
        let follow = |floor: &mut f32, level: f32, least: f32| {
            *floor = (rise * *floor).min(level).max(least);
        };
        for b in 0..BANDS {
            follow(
                &mut self.floor.bands[b],
                self.smooth.bands[b],
                MIN_BAND_POWER,
            );
            self.db[b] = decibels(self.floor.bands[b]);
        }
        follow(&mut self.floor.total, self.smooth.total, MIN_TOTAL_POWER);
    }

    /// Lists the smoothed powers and the floors.
    #[cfg(test)]
    pub(super) fn state(&self) -> Vec<(&'static str, f32)> {
        let powers = [self.smooth, self.floor];
        powers
            .iter()
            .flat_map(|powers| powers.bands.into_iter().chain([powers.total]))
            .map(|x| ("noise floor", x))
            .collect()
    }

    /// Returns the floor of each band in dB.
    pub(super) fn db(&self) -> &Bands {
        &self.db
    }

    /// Returns the floor over all frequencies as a power; at least -70 dBFS.
    pub(super) fn total(&self) -> f32 {
        self.floor.total
    }
}
