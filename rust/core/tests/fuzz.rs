//! Runs the fuzz harnesses on a bounded number of inputs, and on regressions.

mod harness;
mod property;

use proptest::prelude::*;

/// Generates programs of any bytes, and of repeated bytes, which go deeper into one state.
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

/// Generates base64 of one alphabet, with occasional faults.
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

/// Generates right or nearly right headers, with payloads of about the stated length.
fn websocket_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![9 => Just(0x81), 1 => any::<u8>()];
    let length = prop_oneof![0usize..140, 65_500usize..65_600];
    let form = 0usize..12;
    let error = prop_oneof![8 => Just(0), 1 => -3isize..4];
    (first, any::<u8>(), any::<[u8; 4]>(), length, form, error).prop_map(
        |(first, fill, key, length, form, error)| {
            let form = match (form, length) {
                (0..3, _) => form,
                (_, 0..126) => 0,
                (_, 126..0x1_0000) => 1,
                _ => 2,
            };
            let mut frame = vec![first];
            match form {
                0 => frame.push(0x80 | length as u8),
                1 => frame.extend([0xfe, (length >> 8) as u8, length as u8]),
                _ => {
                    frame.push(0xff);
                    frame.extend((length as u64).to_be_bytes());
                }
            }
            frame.extend(key);
            frame.resize(frame.len().saturating_add_signed(error) + length, fill);
            frame
        },
    )
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
        harness::websocket,
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

    #[test]
    fn websocket(data in prop_oneof![websocket_frames(), programs()]) {
        harness::websocket(&data);
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
