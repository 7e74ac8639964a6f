//! The stream, declared in code and changed in place: deleting it would lose what services have not heard yet.

use std::time::Duration;

use async_nats::jetstream::{
    Context,
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
};
use holdfast_api::event::SUBJECTS;

use super::{Link, STREAM};

/// A message older than this is of no use: every service looks at its objects itself far more often.
const KEPT: Duration = Duration::from_hours(24);
const BYTES: i64 = 64 << 20;
const MESSAGE_BYTES: i32 = 64 << 10;
/// How long the server remembers an identity.
const DUPLICATES: Duration = Duration::from_mins(2);

/// The stream as this version wants it.
fn wanted() -> Config {
    Config {
        name: STREAM.to_owned(),
        description: Some("News of Holdfast: wakes services, is never the truth.".to_owned()),
        subjects: vec![format!("{SUBJECTS}.>")],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        max_age: KEPT,
        max_bytes: BYTES,
        max_message_size: MESSAGE_BYTES,
        duplicate_window: DUPLICATES,
        num_replicas: 1,
        ..Config::default()
    }
}

/// Declares the stream at each connection: a server that lost its data gets it again.
pub(super) async fn keep_declared(mut link: Link) {
    loop {
        let (context, number) = link.up().await;
        for pause in super::back_off() {
            match declare(&context).await {
                Ok(()) => {
                    tracing::info!(stream = STREAM, "stream declared");
                    break;
                }
                Err(error) => tracing::warn!(stream = STREAM, %error, "stream not declared"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = link.over(number) => break,
            }
        }
        link.over(number).await;
    }
}

async fn declare(context: &Context) -> Result<(), async_nats::Error> {
    let mut config = wanted();
    // Where the stream lies and how many copies it has is the operator's choice.
    if let Ok(present) = context.get_stream(STREAM).await {
        let present = &present.cached_info().config;
        config.num_replicas = present.num_replicas;
        config.placement.clone_from(&present.placement);
        config.storage = present.storage;
    }
    context.create_or_update_stream(config).await?;
    Ok(())
}
