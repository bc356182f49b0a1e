//! Mixer that was used before [`Capture`](voice_audio::Capture), for comparison.
//!
//! It makes a frame when every stream has one, and ignores a stream that lags by more than 60 ms
//! until it pushes again. It has no clock.

use std::collections::VecDeque;

use super::people::FRAME;

/// Lag behind another stream beyond which frames do not wait for a stream: 60 ms.
const MAX_SKEW: usize = 60 * 16;
/// Greatest number of queued samples of a stream: 2 s.
const CAPACITY: usize = 2_000 * 16;

#[derive(Debug)]
struct Stream {
    id: usize,
    queue: VecDeque<i16>,
    /// True if frames wait for the stream.
    active: bool,
    /// Number of samples by which the stream is late because frames did not wait for it.
    late: usize,
}

/// Mixer of any number of streams at 16 kHz.
#[derive(Debug, Default)]
pub struct EarlierMixer {
    streams: Vec<Stream>,
}

impl EarlierMixer {
    /// Queues samples of a stream; a full queue refuses the newest.
    pub fn push(&mut self, id: usize, samples: impl Iterator<Item = i16>) {
        let index = match self.streams.iter().position(|s| s.id == id) {
            Some(index) => index,
            None => {
                self.streams.push(Stream {
                    id,
                    queue: VecDeque::new(),
                    active: false,
                    late: 0,
                });
                self.streams.len() - 1
            }
        };
        let stream = &mut self.streams[index];
        stream.queue.extend(samples);
        stream.queue.truncate(CAPACITY);
        stream.active = true;
    }

    /// Returns the next frame if one is ready: a plain sum, exact for the voices of the model.
    pub fn pop(&mut self) -> Option<[i16; FRAME]> {
        if !self.ready() {
            return None;
        }
        let mut frame = [0; FRAME];
        for stream in &mut self.streams {
            if stream.active {
                for (sum, x) in frame.iter_mut().zip(stream.queue.drain(..FRAME)) {
                    *sum += x;
                }
                // Late audio is still to come only while more than usual is queued.
                stream.late = stream.late.min(stream.queue.len());
            } else {
                stream.late = stream.late.saturating_add(FRAME);
            }
        }
        Some(frame)
    }

    /// Deactivates streams that lag too far; returns true if every active stream has a frame.
    fn ready(&mut self) -> bool {
        let lags = |s: &Stream| s.active && s.queue.len() < FRAME;
        if self.streams.iter().any(lags) {
            let lead = |s: &Stream| s.queue.len().saturating_sub(s.late);
            let furthest = self.streams.iter().filter(|s| s.active).map(lead).max();
            let furthest = furthest.unwrap_or(0);
            for stream in self.streams.iter_mut().filter(|s| lags(s)) {
                if furthest < FRAME || furthest - stream.queue.len() <= MAX_SKEW {
                    return false;
                }
                stream.active = false;
            }
        }
        self.streams.iter().any(|s| s.active)
    }
}
