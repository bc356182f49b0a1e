//! Mutex of each Python class, and its handling of the GIL.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;

/// Core object that several Python threads may use.
pub(crate) struct State<T>(Mutex<T>);

impl<T: Send> State<T> {
    pub(crate) fn new(inner: T) -> Self {
        // Python's allocator aligns its objects, and the values inside them, to at most 16 bytes. A
        // value that needs more must be boxed: an aligned load of it would be a fault.
        const { assert!(align_of::<T>() <= 16) };
        Self(Mutex::new(inner))
    }

    /// Locks the object; waits without holding the GIL, in case another thread is in a long call.
    pub(crate) fn lock(&self, py: Python<'_>) -> MutexGuard<'_, T> {
        // A poisoned lock means that the core panicked, which was reported to that caller. Its
        // state is plain data and stays valid; refusing it from then on would hide the first
        // report.
        self.0
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the object from code that has already released the GIL.
    pub(crate) fn lock_detached(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on the object. A long call releases the GIL.
    pub(crate) fn run<R: Send>(
        &self,
        py: Python<'_>,
        long: bool,
        work: impl FnOnce(&mut T) -> R + Send,
    ) -> R {
        if long {
            py.detach(|| work(&mut self.lock_detached()))
        } else {
            work(&mut self.lock(py))
        }
    }
}
