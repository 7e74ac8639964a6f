//! The only place that reads clocks, so that decisions take the time as an argument.

use std::time::Duration;

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The time of day, for what is written into objects.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Time since the machine started, counting the time it slept: unlike the monotonic clock it also moves while the
/// machine is suspended, and unlike the time of day nobody sets it. A clock that cannot be read counts as the end of
/// time, so that whatever expires has expired.
pub fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from)
}
