//! Signals to the agent go on to the tool's process group, and end the agent's own work.

use crate::failure::Failure;
use holdfast_api::condition::Reason;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

#[derive(Default)]
struct State {
    /// The last signal, zero for none.
    seen: AtomicI32,
    /// The tool's process group, zero for none.
    group: AtomicI32,
}

/// The signals that were sent to us.
#[derive(Clone, Default)]
pub(crate) struct Signals(Arc<State>);

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let fail = |error| Failure::new(Reason::ToolFailed, format!("cannot listen for signals: {error}"));
        let signals = Self::default();
        let mut incoming = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(fail)?;
        let state = signals.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in incoming.forever() {
                    state.0.seen.store(signal, Ordering::SeqCst);
                    state.forward();
                }
            })
            .map_err(fail)?;
        Ok(signals)
    }

    /// The signal that asked us to stop.
    pub(crate) fn seen(&self) -> Option<Signal> {
        Signal::try_from(self.0.seen.load(Ordering::SeqCst)).ok()
    }

    /// From now on signals go to this process group; none with `None`.
    pub(crate) fn set_group(&self, group: Option<Pid>) {
        self.0.group.store(group.map_or(0, Pid::as_raw), Ordering::SeqCst);
        // One that came between the start of the tool and this must not be lost.
        self.forward();
    }

    fn forward(&self) {
        let group = self.0.group.load(Ordering::SeqCst);
        if let Some(signal) = self.seen()
            && group > 0
        {
            // The group may be gone already.
            let _ = killpg(Pid::from_raw(group), signal);
        }
    }
}
