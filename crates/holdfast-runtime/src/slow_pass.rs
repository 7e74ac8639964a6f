//! The slow pass: now and then a service looks at everything that it works on, in case a change was never heard of.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{Leader, Service};

/// Says when the next pass is due.
#[derive(Debug)]
pub struct SlowPass {
    period: Duration,
    leader: Option<Leader>,
    shutdown: CancellationToken,
}

/// Why a pass is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The period is over.
    Period,
    /// Leadership was won or lost since the last pass, or both: what came up in between was perhaps put off.
    Leadership,
}

impl SlowPass {
    /// A pass every `period`, more or less a fifth of it, so that replicas and services do not ask all at once.
    pub fn new(service: &Service, period: Duration) -> Self {
        Self {
            period,
            leader: None,
            shutdown: service.shutdown.clone(),
        }
    }

    /// [`SlowPass::new`], and a pass at each change of leadership.
    pub fn led(service: &Service, period: Duration, leader: &Leader) -> Self {
        Self {
            leader: Some(leader.clone()),
            ..Self::new(service, period)
        }
    }

    /// Waits until the next pass is due; `None` when the service stops.
    pub async fn next(&mut self) -> Option<Woken> {
        let pause = uneven(self.period);
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            () = changed(self.leader.as_mut()) => Some(Woken::Leadership),
            () = tokio::time::sleep(pause) => Some(Woken::Period),
        }
    }
}

async fn changed(leader: Option<&mut Leader>) {
    match leader {
        Some(leader) => leader.changed().await,
        None => std::future::pending().await,
    }
}

/// The time, more or less a fifth.
fn uneven(time: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 401;
    time / 1000 * (800 + u32::try_from(random).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    const PERIOD: Duration = Duration::from_hours(1);

    fn pass(leader: Option<Leader>) -> SlowPass {
        SlowPass {
            period: PERIOD,
            leader,
            shutdown: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_two_passes_of_a_period_come_at_the_same_time() {
        let mut pass = pass(None);
        let mut pauses = Vec::new();
        for _ in 0..100 {
            let began = Instant::now();
            assert_eq!(pass.next().await, Some(Woken::Period));
            pauses.push(began.elapsed());
        }
        let (least, most) = (PERIOD * 4 / 5, PERIOD * 6 / 5 + Duration::from_millis(1));
        assert!(pauses.iter().all(|pause| (least..=most).contains(pause)), "{pauses:?}");
        let middle = PERIOD;
        assert!(pauses.iter().any(|pause| *pause < middle) && pauses.iter().any(|pause| *pause > middle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_leadership_is_a_pass_even_if_it_was_lost_and_won_again_meanwhile() {
        let (tell, leader) = Leader::played();
        let mut pass = pass(Some(leader));
        assert_eq!(pass.next().await, Some(Woken::Period));
        tell.send_replace(true);
        assert_eq!(pass.next().now_or_never(), Some(Some(Woken::Leadership)));
        assert_eq!(pass.next().now_or_never(), None);
        tell.send_replace(false);
        tell.send_replace(true);
        assert_eq!(pass.next().now_or_never(), Some(Some(Woken::Leadership)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_stops_begins_no_pass() {
        let (_tell, leader) = Leader::played();
        let mut pass = pass(Some(leader));
        let shutdown = pass.shutdown.clone();
        let waiting = tokio::spawn(async move { pass.next().await });
        shutdown.cancel();
        assert_eq!(waiting.await.unwrap(), None);
    }
}
