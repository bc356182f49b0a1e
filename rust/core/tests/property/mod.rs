//! Property tests that are the same in every run.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// Configures `cases` cases from a fixed seed; `PROPTEST_RNG_SEED` gives another one.
pub fn property(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::default();
    let rng_seed = match config.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_240_229),
        chosen => chosen,
    };
    ProptestConfig {
        cases,
        rng_seed,
        failure_persistence: None,
        ..config
    }
}
