//! Arrival statistics of one source: the fastest path, and the lateness relative to it.

use super::Timing;

/// Minimum of (arrival - end of media), and the two greatest latenesses, of one half window.
#[derive(Debug, Clone, Copy)]
struct HalfWindow {
    fastest: i64,
    latest: [i64; 2],
}

impl HalfWindow {
    const EMPTY: Self = Self {
        fastest: i64::MAX,
        latest: [0; 2],
    };
}

/// Statistics of the newest 5 to 10 s, in two half windows.
///
/// The fastest path is a minimum, so a sender's clock that is off by 200 ppm moves it by 2 ms
/// within the window: drift needs no model of its own.
#[derive(Debug)]
pub(super) struct ArrivalStats {
    current: HalfWindow,
    previous: HalfWindow,
    /// Start of the current half window; None before the first packet.
    window_start: Option<i64>,
    newest: i64,
}

impl ArrivalStats {
    pub(super) fn new() -> Self {
        Self {
            current: HalfWindow::EMPTY,
            previous: HalfWindow::EMPTY,
            window_start: None,
            newest: i64::MIN / 2,
        }
    }

    /// Records media that ends at position `end` and arrived at `now`.
    ///
    /// With `delayed_here` the process itself was stalled, and the lateness is not the network's.
    pub(super) fn record(&mut self, end: i64, now: i64, delayed_here: bool, timing: &Timing) {
        let window_start = *self.window_start.get_or_insert(now);
        if now - window_start >= timing.half_window {
            self.previous = std::mem::replace(&mut self.current, HalfWindow::EMPTY);
            self.window_start = Some(now);
        }
        self.current.fastest = self.current.fastest.min(now - end);
        if !delayed_here && now - self.newest >= timing.burst {
            let late = now - end - self.fastest();
            let [first, second] = &mut self.current.latest;
            if late > *first {
                *second = std::mem::replace(first, late);
            } else if late > *second {
                *second = late;
            }
        }
        self.newest = now;
    }

    /// Returns arrival minus position on the fastest path; `i64::MAX` before the first packet.
    pub(super) fn fastest(&self) -> i64 {
        self.current.fastest.min(self.previous.fastest)
    }

    /// Returns the lateness that was reached twice within the window.
    ///
    /// One stall is an accident: concealing it costs less than delaying everything for it. Lateness
    /// that recurs is a property of the network.
    pub(super) fn usual_lateness(&self) -> i64 {
        let [a, b] = self.current.latest;
        let [c, d] = self.previous.latest;
        // Second greatest of two pairs in descending order.
        a.min(c).max(b).max(d)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::CaptureOptions;

    fn timing() -> Timing {
        Timing::new(16_000, &CaptureOptions::default())
    }

    #[test]
    fn the_usual_lateness_is_the_second_greatest_of_both_halves() {
        for [a, b, c, d] in [
            [9, 3, 7, 2],
            [7, 2, 9, 3],
            [9, 8, 1, 0],
            [1, 0, 9, 8],
            [5, 5, 5, 5],
        ] {
            let mut arrival = ArrivalStats::new();
            arrival.current.latest = [a, b];
            arrival.previous.latest = [c, d];
            let mut all = [a, b, c, d];
            all.sort_unstable();
            assert_eq!(arrival.usual_lateness(), all[2]);
        }
    }

    #[test]
    fn a_burst_counts_once_and_a_stall_of_the_process_never() {
        let timing = timing();
        let mut arrival = ArrivalStats::new();
        for k in 1..=50 {
            arrival.record(320 * k, 320 * k, false, &timing);
        }
        // Ten packets held back by a stall of 200 ms, all at once.
        for k in 51..=60 {
            arrival.record(320 * k, 320 * 61, false, &timing);
        }
        assert_eq!(arrival.usual_lateness(), 0);
        for k in 62..=63 {
            arrival.record(320 * k, 320 * k + 3_200 * (k - 61), true, &timing);
        }
        assert_eq!(arrival.usual_lateness(), 0);
        assert_eq!(arrival.fastest(), 0);
    }
}
