use std::{collections::BTreeSet, time::Duration};

use async_nats::{ConnectOptions, Event};
use holdfast_api::event::{BusEvent, BusEventKind};
use holdfast_runtime::{
    Queue, Service,
    bus::permissions::{Permission, TABLE, render},
};
use holdfast_testkit::{Nats, eventually, never};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    completed,
    support::{SOON, lonely, metric},
};

/// Some passwords look like numbers, sizes or booleans to the server's reader of configurations.
const PASSWORDS: [&str; 5] = ["7h3nK2mwXq", "5mBqkLp0aa", "trueWq8sLm", "0x9QfGh2kk", "1e5dRtZuIo"];

/// A server with the chart's configuration, and the files that services read their passwords from.
struct Guarded {
    nats: Nats,
    secrets: TempDir,
}

async fn server() -> Guarded {
    let secrets = tempfile::tempdir().unwrap();
    let mut env = Vec::new();
    for (permission, password) in TABLE.iter().zip(PASSWORDS) {
        std::fs::write(secrets.path().join(permission.service), format!("{password}\n")).unwrap();
        env.push((permission.password_variable(), password));
    }
    let env: Vec<(&str, &str)> = env.iter().map(|(name, password)| (name.as_str(), *password)).collect();
    let nats = Nats::start(&render().replace("store_dir: /data", ""), &env)
        .await
        .unwrap();
    Guarded { nats, secrets }
}

fn password(permission: &Permission) -> &'static str {
    let place = TABLE.iter().position(|one| one.service == permission.service).unwrap();
    PASSWORDS[place]
}

fn service(name: &'static str, server: &Guarded) -> Service {
    let url = format!("--nats-url={}", server.nats.url());
    let file = format!("--nats-password-file={}", server.secrets.path().join(name).display());
    lonely(name, &[&url, &file])
}

/// A plain client with the rights of one service, and what the server refuses it.
async fn client(server: &Guarded, permission: &Permission) -> (async_nats::Client, mpsc::UnboundedReceiver<String>) {
    let (sender, refused) = mpsc::unbounded_channel();
    let user = (permission.service.to_owned(), password(permission).to_owned());
    let client = ConnectOptions::with_user_and_password(user.0, user.1)
        .event_callback(move |event| {
            let sender = sender.clone();
            async move {
                if let Event::ServerError(error) = event {
                    // The test may have ended.
                    let _ = sender.send(error.to_string());
                }
            }
        })
        .connect(server.nats.url())
        .await
        .unwrap();
    (client, refused)
}

/// Every subject that any service may publish on, with wildcards filled in, and some that nobody may.
fn subjects() -> BTreeSet<String> {
    let filled = |subject: &str| subject.replace('*', "x").replace('>', "y.z");
    let every = TABLE.iter().flat_map(Permission::publish);
    let mut all: BTreeSet<String> = every.map(|subject| filled(&subject)).collect();
    for permission in TABLE {
        all.insert(format!("$JS.API.CONSUMER.DELETE.HOLDFAST_NEWS.{}", permission.service));
        all.insert(format!(
            "$JS.API.CONSUMER.DURABLE.CREATE.HOLDFAST_NEWS.{}",
            permission.service
        ));
        all.insert(format!("_INBOX.{}.forged", permission.service));
    }
    let nobodys = [
        "holdfast.v1.other.thing.a.b",
        "holdfast.v1.backup.restored.a.b",
        "holdfast.v2.backup.completed.a.b",
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.LIST",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.STREAM.DELETE.HOLDFAST_NEWS",
        "$JS.API.STREAM.PURGE.HOLDFAST_NEWS",
        "$JS.API.STREAM.MSG.GET.HOLDFAST_NEWS",
        "$JS.API.STREAM.MSG.DELETE.HOLDFAST_NEWS",
        "$JS.API.DIRECT.GET.HOLDFAST_NEWS",
        "$JS.API.CONSUMER.CREATE.HOLDFAST_NEWS",
        "$JS.API.CONSUMER.CREATE.HOLDFAST_NEWS.stranger",
        "$JS.API.CONSUMER.NAMES.HOLDFAST_NEWS",
        "$JS.ACK.HOLDFAST_NEWS.stranger.1.2.3.4.5",
        "$SYS.REQ.SERVER.PING",
    ];
    all.extend(nobodys.map(ToOwned::to_owned));
    all
}

fn matches(pattern: &str, subject: &str) -> bool {
    let mut parts = subject.split('.');
    for token in pattern.split('.') {
        match (token, parts.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(part)) if token == part => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

/// What the server refuses until it has refused `last`.
async fn until_refused(refused: &mut mpsc::UnboundedReceiver<String>, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let error = tokio::time::timeout(SOON, refused.recv()).await.unwrap().unwrap();
        if error.contains(&format!("\"{last}\"")) {
            return seen;
        }
        seen.push(error);
    }
}

fn denied(errors: &[String], subject: &str) -> bool {
    errors.iter().any(|error| {
        error
            .to_lowercase()
            .contains(&format!("\"{}\"", subject.to_lowercase()))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_may_publish_what_is_its_own_and_nothing_else() {
    let server = server().await;
    for permission in TABLE {
        let (client, mut refused) = client(&server, permission).await;
        for subject in subjects() {
            client.publish(subject, "".into()).await.unwrap();
        }
        client.publish("last", "".into()).await.unwrap();
        client.flush().await.unwrap();
        let errors = until_refused(&mut refused, "last").await;
        let own = permission.publish();
        for subject in subjects() {
            let allowed = own.iter().any(|pattern| matches(pattern, &subject));
            assert_ne!(
                denied(&errors, &subject),
                allowed,
                "{} on {subject}: {errors:#?}",
                permission.service
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_reads_its_own_inboxes_and_nothing_else() {
    let server = server().await;
    for permission in TABLE {
        let (client, mut refused) = client(&server, permission).await;
        let mut wanted = ["holdfast.v1.>", ">", "_INBOX.>", "$JS.API.>"]
            .map(ToOwned::to_owned)
            .to_vec();
        wanted.extend(TABLE.iter().map(|one| format!("_INBOX.{}.>", one.service)));
        let mut open = Vec::new();
        for subject in &wanted {
            open.push(client.subscribe(subject.clone()).await.unwrap());
        }
        open.push(client.subscribe("last").await.unwrap());
        client.flush().await.unwrap();
        let errors = until_refused(&mut refused, "last").await;
        let own = format!("_INBOX.{}.>", permission.service);
        for subject in wanted {
            assert_eq!(
                denied(&errors, &subject),
                subject != own,
                "{} on {subject}: {errors:#?}",
                permission.service
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_password_there_is_no_way_in() {
    let server = server().await;
    for (user, secret) in [("gc", "wrong"), ("gc", ""), ("nobody", "x")] {
        let options = ConnectOptions::with_user_and_password(user.to_owned(), secret.to_owned());
        assert!(options.connect(server.nats.url()).await.is_err(), "{user}");
    }
    assert!(async_nats::connect(server.nats.url()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_these_rights_the_bus_works_for_all_five() {
    let server = server().await;
    let scheduler = service("scheduler", &server);
    scheduler.bus.declare(&scheduler);
    let mut listeners = Vec::new();
    for permission in TABLE {
        let listener = service(permission.service, &server);
        let queue = Queue::new("woken");
        // One filter is named in the subject of the request, several are not: both must be allowed.
        let kinds: &[BusEventKind] = if permission.declares {
            &[BusEventKind::BackupCompleted]
        } else {
            &[BusEventKind::BackupCompleted, BusEventKind::RepoReady]
        };
        listener.bus.wake(&listener, permission.service, kinds, &queue);
        listeners.push((listener, queue));
    }
    // A new consumer hears what comes after it: news is published until all are there.
    let executor = service("executor", &server);
    let mut number = 0;
    eventually(SOON, "all five are woken", || {
        number += 1;
        executor.bus.publish(completed(&format!("b-{number}")));
        let woken = listeners.iter().all(|(_, queue)| queue.depth() > 0);
        async move { woken.then_some(()) }
    })
    .await;
    assert!(metric(&executor, "holdfast_executor_bus_dropped_total", "").abs() < 0.5);
    for (listener, _) in listeners {
        listener.run(|_| async { Ok(()) }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_may_not_publish_is_dropped_and_counted() {
    let server = server().await;
    let (scheduler, gc) = (service("scheduler", &server), service("gc", &server));
    scheduler.bus.declare(&scheduler);
    gc.bus.publish(completed("forged"));
    gc.bus.publish(BusEvent {
        kind: BusEventKind::BackupDeleted,
        ..completed("own")
    });
    eventually(SOON, "its own news leaves after what was refused", || async {
        let dropped = metric(&gc, "holdfast_gc_bus_dropped_total", "refused") > 0.5;
        (dropped && metric(&gc, "holdfast_gc_bus_published_total", "deleted") > 0.5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_found_without_a_restart() {
    let server = server().await;
    let file = server.secrets.path().join("gc");
    let right = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "not yet right").unwrap();
    let gc = service("gc", &server);
    let connected = || async { (metric(&gc, "holdfast_gc_bus_connected_servers", "") > 0.5).then_some(()) };
    never(Duration::from_secs(1), "connected", connected).await;
    std::fs::write(&file, right).unwrap();
    eventually(SOON, "connected with the new password", connected).await;
}
