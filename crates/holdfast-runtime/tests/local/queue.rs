use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use holdfast_runtime::{Category, Next, Queue, Retry, Service, queue::work, watch::Key};
use holdfast_testkit::{eventually, never};

use crate::support::{SOON, lonely, metric};

#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
struct Failure(Retry);

impl Category for Failure {
    fn category(&self) -> &'static str {
        "test"
    }

    fn retry(&self) -> Retry {
        self.0
    }
}

type Runs = Arc<Mutex<HashMap<Key, Vec<Instant>>>>;

fn key(name: &str) -> Key {
    Key::new("ns", name)
}

/// Runs `handler` with the number of earlier runs of its key.
fn start<F, Fut>(service: &Service, queue: &Queue, concurrency: usize, handler: F) -> Runs
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next, Failure>> + Send + 'static,
{
    let runs = Runs::default();
    let (seen, running, queue) = (runs.clone(), service.clone(), queue.clone());
    service.spawn("worker", async move {
        work(&running, queue, concurrency, move |key| {
            let mut seen = seen.lock().unwrap();
            let times = seen.entry(key).or_default();
            times.push(Instant::now());
            handler(times.len() - 1)
        })
        .await;
    });
    runs
}

fn count(runs: &Runs, name: &str) -> usize {
    runs.lock().unwrap().get(&key(name)).map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_run_twice_at_once_and_a_change_meanwhile_runs_it_again() {
    let (service, queue) = (lonely("gc", &[]), Queue::new("test"));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak, hot) = (inside.clone(), most.clone(), queue.clone());
    let runs = start(&service, &queue, 8, move |run| {
        let (now, peak, hot) = (now.clone(), peak.clone(), hot.clone());
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Both pushes fall into the first run: they make one more.
            if run == 0 {
                hot.push(key("a"));
                hot.push(key("a"));
            }
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Next::AwaitChange)
        }
    });
    queue.push(key("a"));
    eventually(SOON, "the second run", || async {
        (count(&runs, "a") == 2).then_some(())
    })
    .await;
    never(Duration::from_millis(300), "a third run", || async {
        (count(&runs, "a") > 2).then_some(())
    })
    .await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_given_number_run_at_once() {
    let (service, queue) = (lonely("gc", &[]), Queue::new("test"));
    let (inside, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Semaphore::new(0)));
    let (now, open) = (inside.clone(), gate.clone());
    let runs = start(&service, &queue, 2, move |_| {
        let (now, open) = (now.clone(), open.clone());
        async move {
            now.fetch_add(1, Ordering::SeqCst);
            open.acquire().await.unwrap().forget();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Next::AwaitChange)
        }
    });
    for name in ["a", "b", "c", "d"] {
        queue.push(key(name));
    }
    eventually(SOON, "two at once", || async {
        (inside.load(Ordering::SeqCst) == 2).then_some(())
    })
    .await;
    never(Duration::from_millis(200), "three at once", || async {
        (inside.load(Ordering::SeqCst) > 2).then_some(())
    })
    .await;
    gate.add_permits(4);
    eventually(SOON, "all four", || async {
        (runs.lock().unwrap().len() == 4).then_some(())
    })
    .await;
    // What runs is waited for when the service stops.
    service.shutdown.cancel();
    service.run(|_| async { Ok(()) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_says_when_it_comes_back_and_the_shortest_delay_counts() {
    let (service, queue) = (lonely("gc", &[]), Queue::new("test"));
    let runs = start(&service, &queue, 1, |run| async move {
        Ok(if run == 0 {
            Next::After(Duration::from_millis(300))
        } else {
            Next::AwaitChange
        })
    });
    let pushed = Instant::now();
    queue.push_after(key("a"), Duration::from_hours(1));
    queue.push_after(key("a"), Duration::from_millis(100));
    queue.push_after(key("a"), Duration::from_hours(2));
    eventually(SOON, "both runs", || async { (count(&runs, "a") == 2).then_some(()) }).await;
    let times = runs.lock().unwrap().remove(&key("a")).unwrap();
    assert!(
        times[0] - pushed >= Duration::from_millis(100),
        "{:?}",
        times[0] - pushed
    );
    assert!(
        times[1] - times[0] >= Duration::from_millis(290),
        "{:?}",
        times[1] - times[0]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_and_panics_back_off_each_time_longer_and_are_counted() {
    let (service, queue) = (lonely("gc", &[]), Queue::new("test"));
    let runs = start(&service, &queue, 1, |run| async move {
        match run {
            0 | 1 => Err(Failure(Retry::Transient)),
            2 => panic!("as the test wants it"),
            _ => Ok(Next::AwaitChange),
        }
    });
    queue.push(key("a"));
    eventually(SOON, "the fourth run", || async {
        (count(&runs, "a") == 4).then_some(())
    })
    .await;
    let times = runs.lock().unwrap().remove(&key("a")).unwrap();
    for (number, least) in [500, 1000, 2000].into_iter().enumerate() {
        let pause = times[number + 1] - times[number];
        assert!(pause >= Duration::from_millis(least - 10), "pause {number}: {pause:?}");
    }
    eventually(SOON, "the count of the fourth", || async {
        (metric(&service, "holdfast_gc_runs_total", "queue=\"test\"") > 3.5).then_some(())
    })
    .await;
    assert!((metric(&service, "holdfast_gc_failures_total", "category=\"test\"") - 2.0).abs() < 0.1);
    assert!((metric(&service, "holdfast_gc_failures_total", "category=\"panic\"") - 1.0).abs() < 0.1);
    assert!(metric(&service, "holdfast_gc_queue_running_objects", "").abs() < 0.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_change_can_help_is_not_retried() {
    let (service, queue) = (lonely("gc", &[]), Queue::new("test"));
    let runs = start(&service, &queue, 1, |_| async { Err(Failure(Retry::Never)) });
    queue.push(key("a"));
    eventually(SOON, "the run", || async { (count(&runs, "a") == 1).then_some(()) }).await;
    never(Duration::from_secs(1), "a retry", || async {
        (count(&runs, "a") > 1).then_some(())
    })
    .await;
    queue.push(key("a"));
    eventually(SOON, "the run after a change", || async {
        (count(&runs, "a") == 2).then_some(())
    })
    .await;
}
