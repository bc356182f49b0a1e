//! Packet loss concealment: hides the end of missing audio, and fades in where it returns.

/// Magnitude above which ending sound was cut off: -42 dBFS; below, it ended by itself.
const TORN: u16 = 256;

/// Concealment and fades of one source. The fade lasts 10 ms, a period of a low voice.
#[derive(Debug)]
pub(super) struct LossConcealer {
    fade: usize,
    /// Ring of the newest played samples.
    recent: Box<[i16]>,
    newest: usize,
    /// Number of concealment samples played; `fade` when the concealment has become silence.
    concealed: usize,
    /// Number of samples until returning sound is back at full level.
    fade_in: usize,
    /// Beginning of a skipped silence, over which the following sound fades in.
    skipped: Vec<i16>,
    skipped_at: usize,
}

impl LossConcealer {
    /// Makes a concealer with fades of `fade` samples; 0 makes hard edges.
    pub(super) fn new(fade: usize) -> Self {
        Self {
            fade,
            recent: vec![0; fade].into_boxed_slice(),
            newest: 0,
            concealed: fade,
            fade_in: 0,
            skipped: Vec::with_capacity(fade),
            skipped_at: 0,
        }
    }

    /// Copies captured samples to `out`, of equal length, and applies the current fades.
    pub(super) fn play(&mut self, samples: &[i16], out: &mut [i16]) {
        out.copy_from_slice(samples);
        if self.fade == 0 {
            return;
        }
        let fading = self.fade_in.min(out.len());
        for y in &mut out[..fading] {
            *y = weigh(*y, self.fade - self.fade_in, self.fade);
            self.fade_in -= 1;
        }
        for y in &mut out[fading..] {
            let Some(&old) = self.skipped.get(self.skipped_at) else {
                break;
            };
            let (rise, whole) = (self.skipped_at, self.skipped.len());
            *y = weigh(*y, rise, whole) + weigh(old, whole - rise, whole);
            self.skipped_at += 1;
        }
        self.remember(out);
        self.concealed = 0;
    }

    /// Fills `out` with concealment, since samples are missing.
    ///
    /// The sound continues as its own mirror image, which joins in value and slope, fades out, and
    /// becomes silence. Sound that is played after a cut fades in.
    pub(super) fn conceal(&mut self, out: &mut [i16]) {
        out.fill(0);
        if self.fade == 0 {
            return;
        }
        if self.concealed == 0 && self.recent.iter().any(|x| x.unsigned_abs() > TORN) {
            self.fade_in = self.fade;
        }
        let last = i32::from(self.recent[self.newest]);
        for y in out {
            if self.concealed == self.fade {
                break;
            }
            let back = (self.newest + self.fade - self.concealed) % self.fade;
            let mirrored = 2 * last - i32::from(self.recent[back]);
            let limited = mirrored.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
            *y = weigh(limited, self.fade - self.concealed, self.fade);
            self.concealed += 1;
        }
        self.skipped.clear();
    }

    /// Begins to skip samples: the next played samples fade in over the first skipped ones.
    pub(super) fn begin_skip(&mut self) {
        self.skipped.clear();
        self.skipped_at = 0;
    }

    /// Skips the next samples.
    pub(super) fn skip(&mut self, samples: &[i16]) {
        if self.fade_in == 0 {
            let room = self.fade - self.skipped.len();
            self.skipped.extend(&samples[..samples.len().min(room)]);
        }
    }

    /// Fades the next played samples in from silence.
    pub(super) fn fade_in(&mut self) {
        self.fade_in = self.fade;
        self.skipped.clear();
    }

    fn remember(&mut self, played: &[i16]) {
        for &x in &played[played.len().saturating_sub(self.fade)..] {
            self.newest = (self.newest + 1) % self.fade;
            self.recent[self.newest] = x;
        }
    }
}

fn weigh(x: i16, weight: usize, whole: usize) -> i16 {
    (i32::from(x) * weight as i32 / whole as i32) as i16
}
