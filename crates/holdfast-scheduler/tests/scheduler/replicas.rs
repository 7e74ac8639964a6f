//! Several schedulers, and schedulers that come and go. These tests have a server of their own.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser as _;
use holdfast_api::{BackupPhase, BackupType, event::BusEventKind};
use holdfast_core::policy::{slot_backup, status};
use holdfast_runtime::{
    CommonArgs, Next, Queue, Service, bus::permissions, clock, queue, watch::Key, write::WriteError,
};
use holdfast_testkit::{ApiServer, Nats, eventually, never};
use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::world::{POLICY, SOON, Scheduler, World, YEARLY, slot};

static SERVER: OnceCell<ApiServer> = OnceCell::const_new();

#[tokio::test]
async fn schedulers_that_come_and_go_double_nothing_and_lose_nothing() {
    let server = SERVER
        .get_or_init(|| async { ApiServer::start().await.expect("a server") })
        .await;
    let world = World::on(server, "replicas").await;
    // A scheduler that ended between its two writes left a policy that is due, and the Backup of the slot.
    let policy = world
        .policy(POLICY, |d| {
            d["spec"]["schedule"] = json!({"datafile": {"cronExpression": YEARLY, "enable": true}});
        })
        .await;
    let left = json!({ "status": status(&policy, None, clock::now()) });
    let patch = Patch::Merge(&left);
    let policies = world.api();
    let policy = policies
        .patch_status(POLICY, &PatchParams::default(), &patch)
        .await
        .expect("a status");
    world.make_due(&policy).await;
    let backup = world
        .create(&world.api(), &slot_backup(&policy, BackupType::Datafile, slot(), ""))
        .await;

    let first = Scheduler::start(server, "scheduler-a", &[]);
    let second = Scheduler::start(server, "scheduler-b", &[]);
    world.slot_noted(POLICY).await;
    world.admitted(&backup.name_any()).await;
    assert_eq!(leading(&first) + leading(&second), 1);

    // While nobody is there, the Backup ends, and the policy comes due again.
    first.stop();
    second.stop();
    world.set_phase(&backup.name_any(), BackupPhase::Completed).await;
    // This one has a bus, with no more rights on it than it needs.
    let bus = GuardedBus::start().await;
    let flags = bus.flags("scheduler");
    let third = Scheduler::start(server, "scheduler-c", &flags.each_ref().map(String::as_str));
    world
        .policy_where(POLICY, "with its success noted", |policy| {
            policy
                .status
                .as_ref()
                .is_some_and(|status| status.last_successful_time.is_some())
        })
        .await;
    world.make_due(&policies.get(POLICY).await.expect("the policy")).await;
    world.slot_noted(POLICY).await;
    never(Duration::from_secs(2), "a second backup", || async {
        (world.backups(POLICY).await.len() > 1).then_some(())
    })
    .await;
    eventually(SOON, "the next slot to be measured", || async {
        third.metric("next_slot_timestamp_seconds", &[("policy", POLICY)])
    })
    .await;
    let heard = listen(&bus);
    let mut number = 0;
    eventually(SOON, "news of an admission", || {
        number += 1;
        let (name, world, heard) = (format!("b{number}"), &world, &heard);
        async move {
            world.backup(&name, POLICY).await;
            world.admitted(&name).await;
            let heard = heard.lock().expect("a list").clone();
            heard.into_iter().find(|key| key.namespace == world.namespace)
        }
    })
    .await;
    third.stop();
}

/// A bus on which every service has its own password and rights.
struct GuardedBus {
    nats: Nats,
    passwords: TempDir,
}

impl GuardedBus {
    async fn start() -> Self {
        let passwords = tempfile::tempdir().expect("a directory");
        let mut env = Vec::new();
        for one in permissions::TABLE {
            let password = format!("p-{}", one.service);
            std::fs::write(passwords.path().join(one.service), &password).expect("a file");
            env.push((one.password_variable(), password));
        }
        let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        // Where it keeps its data is the test kit's choice.
        let config = permissions::render().replace("store_dir: /data", "");
        let nats = Nats::start(&config, &env).await.expect("a bus");
        Self { nats, passwords }
    }

    /// The flags that connect a service.
    fn flags(&self, service: &str) -> [String; 2] {
        let file = self.passwords.path().join(service);
        [
            format!("--nats-url={}", self.nats.url()),
            format!("--nats-password-file={}", file.display()),
        ]
    }
}

#[derive(clap::Parser)]
struct Listener {
    #[command(flatten)]
    common: CommonArgs,
}

/// What another service hears of admitted Backups.
fn listen(bus: &GuardedBus) -> Arc<Mutex<Vec<Key>>> {
    let fixed = ["listener", "--http-addr=127.0.0.1:0", "--log=off"].map(str::to_owned);
    let flags = fixed.into_iter().chain(bus.flags("executor"));
    let args = Listener::try_parse_from(flags).expect("valid arguments").common;
    let config = kube::Config::new("http://127.0.0.1:1".parse().expect("an address"));
    let service = Service::start_with("executor", &args, config).expect("a service");
    let queue = Queue::new("heard");
    service
        .bus
        .wake(&service, "executor", &[BusEventKind::BackupAdmitted], &queue);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&heard);
    tokio::spawn(async move {
        queue::work(&service, queue, 1, move |key| {
            list.lock().expect("a list").push(key);
            std::future::ready(Ok::<_, WriteError>(Next::AwaitChange))
        })
        .await;
    });
    heard
}

fn leading(scheduler: &Scheduler) -> u8 {
    u8::from(scheduler.metric("leading_leases", &[]) == Some(1.0))
}
