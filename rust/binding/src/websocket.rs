//! Python functions `websocket_frame` and `websocket_payload`, and the masking keys.

use std::cell::RefCell;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyDict, PyTuple};
use voice_audio::websocket;

/// Number of bytes of a masking key.
const KEY: usize = 4;

/// Number of random bytes drawn at a time: 256 keys, five seconds of one session.
///
/// A system call per frame would cost several times as much as the frame itself.
const POOL: usize = 1 << 10;

/// Pool of the operating system's random bytes; unused ones are at the end of `bytes`.
struct Keys {
    bytes: [u8; POOL],
    left: usize,
}

impl Keys {
    fn next(&mut self) -> Result<[u8; KEY], getrandom::Error> {
        if self.left < KEY {
            getrandom::fill(&mut self.bytes)?;
            self.left = POOL;
        }
        let key = self.bytes[self.left - KEY..self.left].try_into();
        self.left -= KEY;
        Ok(key.expect("a slice of this length"))
    }
}

thread_local! {
    // One pool per thread: a fork cannot leave a lock held.
    static KEYS: RefCell<Keys> = const { RefCell::new(Keys { bytes: [0; POOL], left: 0 }) };
}

/// Draws an unpredictable masking key that is used once (RFC 6455, section 10.3).
pub(crate) fn masking_key() -> PyResult<[u8; KEY]> {
    KEYS.with_borrow_mut(Keys::next)
        .map_err(|error| PyOSError::new_err(format!("no random bytes for a masking key: {error}")))
}

/// Makes a forked child draw its own keys: else it would reuse its parent's next ones.
pub(crate) fn forget_keys_in_forks(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    if !os.hasattr("register_at_fork")? {
        return Ok(()); // no forks: Windows
    }
    // The thread that forked is the only one of the child, and calls this.
    let forget = |_: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        KEYS.with_borrow_mut(|keys| keys.left = 0);
    };
    let hooks = PyDict::new(py);
    hooks.set_item(
        "after_in_child",
        PyCFunction::new_closure(py, None, None, forget)?,
    )?;
    os.call_method("register_at_fork", (), Some(&hooks))?;
    Ok(())
}

#[pyfunction]
pub(crate) fn websocket_frame<'py>(
    py: Python<'py>,
    payload: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let key = masking_key()?;
    let mut frame = Vec::with_capacity(websocket::MAX_HEADER + payload.len());
    websocket::text_frame(payload, key, &mut frame);
    Ok(PyBytes::new(py, &frame))
}

#[pyfunction]
pub(crate) fn websocket_payload<'py>(
    py: Python<'py>,
    frame: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let payload =
        websocket::payload_of(frame).map_err(|error| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &payload))
}
