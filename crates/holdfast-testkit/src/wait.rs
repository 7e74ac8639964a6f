//! Waiting for conditions instead of sleeping for luck.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Asks `probe` until it answers, and fails the test, naming `what`, if it does not within `deadline`.
#[allow(clippy::panic, reason = "a test that waited in vain has failed")]
pub async fn eventually<T, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let began = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

/// Watches `probe` for the whole of `span` and fails the test, naming `what`, as soon as it answers something.
#[allow(clippy::panic, reason = "a test that saw what must not be has failed")]
pub async fn never<T, F, Fut>(span: Duration, what: &str, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let began = Instant::now();
    while began.elapsed() < span {
        assert!(probe().await.is_none(), "after {:?}: {what}", began.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
