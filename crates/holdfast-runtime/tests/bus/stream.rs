use std::time::Duration;

use async_nats::jetstream::{self, stream};
use holdfast_testkit::{Nats, eventually};

use crate::support::{SOON, lonely};

#[tokio::test(flavor = "multi_thread")]
async fn an_older_stream_is_changed_in_place_and_keeps_its_news() {
    let nats = Nats::start_open().await.unwrap();
    let context = jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let older = stream::Config {
        name: "HOLDFAST_NEWS".to_owned(),
        subjects: vec!["holdfast.v1.backup.>".to_owned()],
        max_age: Duration::from_mins(5),
        // Chosen by whoever runs the server, and kept.
        storage: stream::StorageType::Memory,
        ..stream::Config::default()
    };
    context.create_stream(older).await.unwrap();
    let sent = context
        .publish("holdfast.v1.backup.completed.a.b", "old news".into())
        .await;
    sent.unwrap().await.unwrap();

    let scheduler = lonely("scheduler", &[&format!("--nats-url={}", nats.url())]);
    scheduler.bus.declare(&scheduler);
    let info = eventually(SOON, "the stream is changed", || async {
        let stream = context.get_stream("HOLDFAST_NEWS").await.unwrap();
        let info = stream.cached_info().clone();
        (info.config.subjects == ["holdfast.v1.>"]).then_some(info)
    })
    .await;
    assert_eq!(info.state.messages, 1);
    assert_eq!(info.config.max_age, Duration::from_hours(24));
    assert_eq!(info.config.duplicate_window, Duration::from_mins(2));
    assert_eq!(info.config.retention, stream::RetentionPolicy::Limits);
    assert_eq!(info.config.storage, stream::StorageType::Memory);
}
