//! Tests of the mixer: exact sums, a soft limit, and no residue between frames.

mod property;

use proptest::prelude::*;
use voice_audio::{Error, Mixer};

const FRAME: usize = 320;

fn mix(voices: &[&[i16]]) -> Vec<i16> {
    let mut mixer = Mixer::new(16_000).unwrap();
    let mut frame = vec![1; FRAME];
    voices.iter().for_each(|voice| mixer.add(voice));
    mixer.finish(&mut frame);
    frame
}

#[test]
fn without_frames_there_is_silence() {
    assert_eq!(mix(&[]), [0; FRAME]);
}

#[test]
fn two_loud_voices_do_not_wrap_or_clip_hard() {
    let sum = mix(&[&[30_000; FRAME], &[30_000; FRAME]]);
    assert!(sum.iter().all(|&y| y > 30_000), "{}", sum[0]);
    let sum = mix(&[&[i16::MIN; FRAME], &[i16::MIN; FRAME]]);
    assert!(sum.iter().all(|&y| y < -30_000), "{}", sum[0]);
}

#[test]
fn voices_that_cancel_leave_silence() {
    assert_eq!(mix(&[&[i16::MAX; FRAME], &[-i16::MAX; FRAME]]), [0; FRAME]);
}

#[test]
fn a_rate_without_whole_frames_is_refused() {
    let refused = |rate| Mixer::new(rate).unwrap_err();
    assert_eq!(refused(22_055), Error::FrameRate { rate: 22_055 });
    assert_eq!(refused(4_000), Error::Rate { rate: 4_000 });
}

#[test]
#[should_panic(expected = "a frame is 20 ms long")]
fn a_frame_of_another_length_is_not_added() {
    Mixer::new(16_000).unwrap().add(&[0; FRAME - 1]);
}

#[test]
#[should_panic(expected = "a frame is 20 ms long")]
fn a_frame_of_another_length_is_not_finished() {
    Mixer::new(16_000).unwrap().finish(&mut [0; FRAME + 1]);
}

fn frame(most: i16) -> impl Strategy<Value = Vec<i16>> {
    prop::collection::vec(-most..=most, FRAME)
}

proptest! {
    #![proptest_config(property::property(50))]

    #[test]
    fn one_voice_passes_bit_for_bit_alone_and_among_silent_ones(voice in frame(i16::MAX), silent in 0usize..5) {
        let mut voices: Vec<&[i16]> = vec![&[0; FRAME]; silent];
        voices.insert(silent / 2, &voice);
        prop_assert_eq!(mix(&voices), voice);
    }

    #[test]
    fn sums_below_the_knee_are_exact(a in frame(12_000), b in frame(12_000)) {
        let sum: Vec<i16> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        prop_assert_eq!(mix(&[&a, &b]), sum);
    }

    #[test]
    fn nothing_stays_for_the_next_frame(a in frame(i16::MAX), b in frame(i16::MAX), next in frame(i16::MAX)) {
        let mut mixer = Mixer::new(16_000).unwrap();
        let mut frame = vec![0; FRAME];
        mixer.add(&a);
        mixer.add(&b);
        mixer.finish(&mut frame);
        mixer.add(&next);
        mixer.finish(&mut frame);
        prop_assert_eq!(frame, next);
    }
}
