//! The fuzz harnesses on a bounded number of inputs, and on inputs that once mattered.

mod harness;
mod property;

use proptest::prelude::*;

/// Programs of any bytes, and programs whose bytes repeat, which go deeper into one state.
fn programs() -> impl Strategy<Value = Vec<u8>> {
    let free = prop::collection::vec(any::<u8>(), 0..400);
    let few = prop::collection::vec(
        prop::sample::select(vec![0u8, 1, 5, 7, 13, 240, 255]),
        0..400,
    );
    let again = (prop::collection::vec(any::<u8>(), 1..12), 1usize..60)
        .prop_map(|(part, times)| part.repeat(times));
    prop_oneof![free, few, again]
}

/// Mostly base64 of one alphabet, with a fault here and there.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let text = |digits: &'static str| {
        let digits = prop::sample::select(digits.as_bytes().to_vec());
        (prop::collection::vec(digits, 0..40), 0usize..4)
            .prop_map(|(digits, padding)| [digits, vec![b'='; padding]].concat())
    };
    prop_oneof![
        text("AQgw09+/"),
        text("AQgw09-_"),
        text("AQgw+-"),
        text("AQ= \n"),
        prop::collection::vec(any::<u8>(), 0..40),
    ]
}

#[test]
fn nothing_at_all() {
    for run in [
        harness::resampler,
        harness::input_stream,
        harness::vad,
        harness::playback,
        harness::mixer,
        harness::capture,
        harness::base64,
    ] {
        run(&[]);
        run(&[0; 3_000]);
        run(&[255; 3_000]);
    }
}

proptest! {
    #![proptest_config(property::property(400))]

    #[test]
    fn resampler(data in programs()) {
        harness::resampler(&data);
    }

    #[test]
    fn playback(data in programs()) {
        harness::playback(&data);
    }

    #[test]
    fn mixer(data in programs()) {
        harness::mixer(&data);
    }

    #[test]
    fn base64(data in texts()) {
        harness::base64(&data);
    }
}

proptest! {
    // Each costs the time of a neural network, many times slower without optimization.
    #![proptest_config(property::property(40))]

    #[test]
    fn input_stream(data in programs()) {
        harness::input_stream(&data);
    }

    #[test]
    fn vad(data in programs()) {
        harness::vad(&data);
    }

    #[test]
    fn capture(data in programs()) {
        harness::capture(&data);
    }
}
