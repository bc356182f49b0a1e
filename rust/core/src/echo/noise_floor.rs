//! The sound that is always there.

use super::bands::{BANDS, Bands, Powers, decibels, flush};

/// Power in a band below which nothing is a background: -85 dBFS, and -70 dBFS in all bands.
pub(super) const MIN_BAND_POWER: f32 = 3.2e-9;
const MIN_TOTAL_POWER: f32 = BANDS as f32 * MIN_BAND_POWER;
/// Hops over which a level is smoothed: 50 ms.
const SMOOTHING_HOPS: u32 = 5;
/// How the background rises where nothing quieter is heard, in a hop: 2 dB per second. It falls at
/// once. Speech reaches its background between words ("minimum statistics", R. Martin, IEEE Trans.
/// SAP 9 (5), 2001).
const RISE_PER_HOP: f32 = 1.0046;

/// The background of the near end, by bands.
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

    /// Listens to a hop. `rises` unless there is something else, known not to be the background.
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
            .map(|x| ("background", x))
            .collect()
    }

    /// In each band, in dB.
    pub(super) fn db(&self) -> &Bands {
        &self.db
    }

    /// Power over all frequencies; at least -70 dBFS.
    pub(super) fn total(&self) -> f32 {
        self.floor.total
    }
}
