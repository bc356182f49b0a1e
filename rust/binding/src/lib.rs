//! Python binding of `voice-audio`: the extension module `getstream.plugins.gemini._core`.
//!
//! The binding has no policy. A method converts its arguments, calls the core, and wraps the
//! result; `_core.pyi` is its documentation. Every class is frozen with a mutex inside, so all of
//! them may be used from several threads. Short calls keep the GIL: releasing it for a few
//! microseconds costs a thread switch of 5 ms as soon as another Python thread computes. Calls on
//! more than a second of audio release it.

#![forbid(unsafe_code)]

mod base64;
mod capture;
mod convert;
mod echo;
mod input;
mod mixer;
mod playback;
mod resample;
mod state;
mod vad;
mod websocket;

use pyo3::prelude::*;

/// The audio core. `_core.pyi` documents it.
#[pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::base64::{decode_base64, encode_base64};
    #[pymodule_export]
    use crate::capture::{Capture, CaptureEvent, SourceStats};
    #[pymodule_export]
    use crate::echo::EchoReference;
    #[pymodule_export]
    use crate::input::InputStream;
    #[pymodule_export]
    use crate::mixer::Mixer;
    #[pymodule_export]
    use crate::playback::{Playback, PlaybackStats, TurnStats};
    #[pymodule_export]
    use crate::resample::Resampler;
    #[pymodule_export]
    use crate::vad::{SpeechStarted, SpeechStopped, Vad};
    #[pymodule_export]
    use crate::websocket::{websocket_frame, websocket_payload};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        let profile = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        module.add("build_profile", profile)?;
        crate::websocket::forget_keys_in_forks(module.py())
    }
}
