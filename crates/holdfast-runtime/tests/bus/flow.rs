use std::time::{Duration, Instant};

use async_nats::jetstream::{self, AckKind};
use futures::StreamExt as _;
use holdfast_api::event::{BusEvent, BusEventKind};
use holdfast_runtime::{Next, Queue, Service, queue::work, watch::Key, write::WriteError};
use holdfast_testkit::{Nats, eventually};
use tokio::sync::mpsc;

use crate::{
    completed,
    support::{SOON, lonely, metric},
};

const STREAM: &str = "HOLDFAST_NEWS";

fn on(name: &'static str, nats: &Nats) -> Service {
    lonely(name, &[&format!("--nats-url={}", nats.url())])
}

/// The keys that a queue is woken for.
fn woken(service: &Service, queue: &Queue) -> mpsc::UnboundedReceiver<Key> {
    let (sender, keys) = mpsc::unbounded_channel();
    let (running, queue) = (service.clone(), queue.clone());
    service.spawn("worker", async move {
        work(&running, queue, 1, |key| {
            sender.send(key).unwrap();
            async { Ok::<_, WriteError>(Next::AwaitChange) }
        })
        .await;
    });
    keys
}

async fn next(keys: &mut mpsc::UnboundedReceiver<Key>) -> Key {
    tokio::time::timeout(SOON, keys.recv()).await.unwrap().unwrap()
}

async fn context(nats: &Nats) -> jetstream::Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

/// Waits until the consumer is at the server: older news it would not get.
async fn listening(nats: &Nats, consumer: &str) {
    let context = context(nats).await;
    eventually(SOON, "the consumer is there", || async {
        let stream = context.get_stream(STREAM).await.ok()?;
        stream.consumer_info(consumer).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_wakes_the_queue_of_who_asked_for_it_through_every_outage() {
    let mut nats = Nats::start_open().await.unwrap();
    let (scheduler, executor, gc) = (on("scheduler", &nats), on("executor", &nats), on("gc", &nats));
    scheduler.bus.declare(&scheduler);
    let queue = Queue::new("retention");
    gc.bus.wake(
        &gc,
        "gc",
        &[BusEventKind::BackupCompleted, BusEventKind::BackupFailed],
        &queue,
    );
    let mut keys = woken(&gc, &queue);
    listening(&nats, "gc").await;
    executor.bus.publish(BusEvent {
        kind: BusEventKind::BackupStarted,
        ..completed("not-asked-for")
    });
    executor.bus.publish(completed("a.name.with.dots"));
    assert_eq!(next(&mut keys).await, Key::new("shop", "a.name.with.dots"));
    let before = context(&nats).await;
    eventually(SOON, "acknowledged", || async {
        let info = before
            .get_stream(STREAM)
            .await
            .unwrap()
            .consumer_info("gc")
            .await
            .unwrap();
        (info.num_ack_pending == 0 && info.num_pending == 0).then_some(())
    })
    .await;

    // Published while the server is away: kept, and the caller is not held up.
    nats.stop();
    let began = Instant::now();
    executor.bus.publish(completed("while-away"));
    assert!(began.elapsed() < Duration::from_millis(100));
    nats.restart().await.unwrap();
    assert_eq!(next(&mut keys).await, Key::new("shop", "while-away"));

    // The server lost everything: stream and consumer are made again.
    nats.restart_empty().await.unwrap();
    listening(&nats, "gc").await;
    executor.bus.publish(completed("afterwards"));
    assert_eq!(next(&mut keys).await, Key::new("shop", "afterwards"));
    let more = tokio::time::timeout(Duration::from_millis(300), keys.recv()).await;
    assert!(more.is_err(), "woken by what nobody asked for: {more:?}");
    for service in [scheduler, executor, gc] {
        service.run(|_| async { Ok(()) }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_services_run_and_the_oldest_news_is_dropped() {
    let silent = lonely("executor", &[]);
    silent.bus.publish(completed("swallowed"));
    assert!(!silent.bus.enabled());
    silent.bus.wake(
        &silent,
        "executor",
        &[BusEventKind::BackupAdmitted],
        &Queue::new("test"),
    );
    silent.run(|_| async { Ok(()) }).await.unwrap();

    let away = lonely("executor", &["--nats-url=nats://127.0.0.1:1"]);
    away.bus.declare(&away);
    for number in 0..2000 {
        away.bus.publish(completed(&format!("b-{number}")));
    }
    let dropped = metric(&away, "holdfast_executor_bus_dropped_total", "crowded");
    assert!((900.0..1000.0).contains(&dropped), "{dropped}");
    let began = Instant::now();
    away.run(|_| async { Ok(()) }).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_late_gets_the_news_that_waited() {
    let mut nats = Nats::start_open().await.unwrap();
    nats.stop();
    let (scheduler, executor) = (on("scheduler", &nats), on("executor", &nats));
    scheduler.bus.declare(&scheduler);
    executor.bus.publish(completed("early"));
    nats.restart().await.unwrap();
    let context = context(&nats).await;
    let message = eventually(SOON, "the news is stored", || async {
        context.get_stream(STREAM).await.ok()?.get_raw_message(1).await.ok()
    })
    .await;
    assert_eq!(message.subject.as_str(), "holdfast.v1.backup.completed.shop.early");
    assert_eq!(
        message.headers.get("Nats-Msg-Id").unwrap().as_str(),
        "uid-of-early:InProgress->Completed:"
    );
    let event: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(
        (&event["specversion"], &event["source"]),
        (&"1.0".into(), &"/holdfast/executor".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_news_is_stored_once_and_a_new_transition_again() {
    let nats = Nats::start_open().await.unwrap();
    let (scheduler, executor) = (on("scheduler", &nats), on("executor", &nats));
    scheduler.bus.declare(&scheduler);
    for _ in 0..3 {
        executor.bus.publish(completed("once"));
    }
    executor.bus.publish(BusEvent {
        from: "Deleting",
        ..completed("once")
    });
    eventually(SOON, "all four are taken", || async {
        (metric(&executor, "holdfast_executor_bus_published_total", "") > 3.5).then_some(())
    })
    .await;
    let stream = context(&nats).await.get_stream(STREAM).await.unwrap();
    assert_eq!(stream.cached_info().state.messages, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_put_aside_and_does_not_come_again() {
    let nats = Nats::start_open().await.unwrap();
    let (scheduler, gc) = (on("scheduler", &nats), on("gc", &nats));
    scheduler.bus.declare(&scheduler);
    let queue = Queue::new("retention");
    gc.bus.wake(&gc, "gc", &[BusEventKind::BackupCompleted], &queue);
    let mut keys = woken(&gc, &queue);
    listening(&nats, "gc").await;
    let context = context(&nats).await;
    let good = completed("good")
        .payload("executor", jiff::Timestamp::UNIX_EPOCH)
        .to_string();
    for payload in [
        "",
        "no JSON",
        "{\"specversion\":\"9.0\",\"data\":{\"name\":\"x\"}}",
        &good,
    ] {
        let sent = context
            .publish("holdfast.v1.backup.completed.shop.x", payload.to_owned().into())
            .await;
        sent.unwrap().await.unwrap();
    }
    assert_eq!(next(&mut keys).await, Key::new("shop", "good"));
    let stream = context.get_stream(STREAM).await.unwrap();
    eventually(SOON, "all four are settled", || async {
        let info = stream.consumer_info("gc").await.unwrap();
        (info.num_ack_pending == 0 && info.ack_floor.stream_sequence == 4).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn news_that_was_taken_and_not_settled_comes_again() {
    let nats = Nats::start_open().await.unwrap();
    let scheduler = on("scheduler", &nats);
    scheduler.bus.declare(&scheduler);
    let queue = Queue::new("retention");
    let first = on("gc", &nats);
    first.bus.wake(&first, "gc", &[BusEventKind::BackupCompleted], &queue);
    listening(&nats, "gc").await;
    first.run(|_| async { Ok(()) }).await.unwrap();
    // Somebody takes it and hands it back, while nobody of ours listens.
    scheduler.bus.publish(completed("orphan"));
    let context = context(&nats).await;
    let consumer: jetstream::consumer::PullConsumer = context.get_consumer_from_stream("gc", STREAM).await.unwrap();
    let mut taken = consumer.fetch().max_messages(1).expires(SOON).messages().await.unwrap();
    let message = taken.next().await.unwrap().unwrap();
    message.ack_with(AckKind::Nak(None)).await.unwrap();
    let second = on("gc", &nats);
    second.bus.wake(&second, "gc", &[BusEventKind::BackupCompleted], &queue);
    assert_eq!(next(&mut woken(&second, &queue)).await, Key::new("shop", "orphan"));
}
