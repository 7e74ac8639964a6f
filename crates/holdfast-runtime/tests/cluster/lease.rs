use std::{path::Path, process::Command, time::Duration};

use holdfast_runtime::{Leader, Service, clock, leader::Terms};
use holdfast_testkit::{ApiServer, Process, eventually, never};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;

use crate::{service, support::SOON};

const LEASE: &str = "holdfast-test";
const TERMS: Terms = Terms {
    duration: Duration::from_secs(4),
    renew: Duration::from_secs(1),
    margin: Duration::from_secs(1),
};

async fn leads(leader: &Leader) {
    eventually(SOON, "leads", || async { leader.leads().then_some(()) }).await;
}

async fn lease(service: &Service) -> Lease {
    Api::namespaced(service.client.clone(), &service.namespace)
        .get(LEASE)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_exactly_one_leads_and_who_stops_hands_over_at_once() {
    let namespace = ApiServer::shared().await.namespace("lease").await.unwrap();
    let (one, two) = (
        service("gc", "one", &namespace).await,
        service("gc", "two", &namespace).await,
    );
    let first = one.elect_with(LEASE, TERMS);
    leads(&first).await;
    let mut second = two.elect_with(LEASE, TERMS);
    never(TERMS.duration + TERMS.renew, "not exactly one leads", || async {
        (!first.leads() || second.leads()).then_some(())
    })
    .await;
    let record = lease(&one).await.spec.unwrap();
    assert!(record.holder_identity.unwrap().starts_with("one_"));
    assert_eq!(record.lease_duration_seconds, Some(4));
    assert_eq!(record.lease_transitions, Some(0));

    let stopping = std::time::Instant::now();
    one.run(|_| async { Ok(()) }).await.unwrap();
    assert!(!first.leads());
    tokio::time::timeout(SOON, second.elected()).await.unwrap();
    assert!(
        stopping.elapsed() < TERMS.duration,
        "not released, only expired: {:?}",
        stopping.elapsed()
    );
    assert_eq!(lease(&two).await.spec.unwrap().lease_transitions, Some(1));
    two.run(|_| async { Ok(()) }).await.unwrap();
    let afterwards = service("gc", "three", &namespace).await;
    assert_eq!(lease(&afterwards).await.spec.unwrap().holder_identity, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_stops_leading_before_another_may() {
    let server = ApiServer::start_bare().await.unwrap();
    let namespace = server.namespace("lease").await.unwrap();
    let args = crate::support::args(&[&format!("--namespace={namespace}"), "--pod-name=one"]);
    let service = Service::start_with("gc", &args, server.config().await.unwrap()).unwrap();
    let mut leader = service.elect_with(LEASE, TERMS);
    leads(&leader).await;
    leader.elected().await;
    server.freeze().unwrap();
    let frozen = clock::boot();
    eventually(SOON, "leads no more", || async { (!leader.leads()).then_some(()) }).await;
    let kept = clock::boot().saturating_sub(frozen);
    assert!(kept < TERMS.duration, "{kept:?}");
    // The waiting side hears of it too.
    tokio::time::timeout(SOON, leader.changed()).await.unwrap();
    server.thaw().unwrap();
    leads(&leader).await;
    service.run(|_| async { Ok(()) }).await.unwrap();
}

/// Run again by the tests below as a process of its own, which can be frozen.
#[tokio::test(flavor = "multi_thread")]
async fn elector_process() {
    let (Ok(kubeconfig), Ok(namespace)) = (std::env::var("TEST_KUBECONFIG"), std::env::var("TEST_NAMESPACE")) else {
        return;
    };
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let args = crate::support::args(&[&format!("--namespace={namespace}"), "--pod-name=frozen"]);
    let service = Service::start_with("gc", &args, config).unwrap();
    let leader = service.elect_with(LEASE, TERMS);
    let mut listener = leader.clone();
    tokio::spawn(async move {
        loop {
            listener.changed().await;
            println!("\ntold {} {}", clock::boot().as_nanos(), listener.leads());
        }
    });
    loop {
        // The time first: a freeze between the two makes the answer look older, never younger.
        let now = clock::boot().as_nanos();
        println!("\nstanding {now} {}", leader.leads());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts that process.
fn elector(server: &ApiServer, namespace: &str, log: &Path) -> Process {
    let args = ["--exact", "lease::elector_process", "--nocapture"].map(ToOwned::to_owned);
    let env = [
        ("TEST_KUBECONFIG".to_owned(), server.kubeconfig().display().to_string()),
        ("TEST_NAMESPACE".to_owned(), namespace.to_owned()),
    ];
    Process::start("elector", &std::env::current_exe().unwrap(), &args, &env, log).unwrap()
}

/// What the process said after this word: when, and whether it led.
fn standings(log: &Path, word: &str) -> Vec<(Duration, bool)> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix(word)?.trim_start().split(' ');
            let time = Duration::from_nanos(words.next()?.parse().ok()?);
            Some((time, words.next()?.parse().ok()?))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_finds_on_waking_that_another_leads() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("lease").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("standings");
    let mut frozen = elector(server, &namespace, &log);
    let said = |leads: bool, after: Duration| {
        standings(&log, "standing")
            .into_iter()
            .rfind(|(time, led)| *led == leads && *time > after)
    };
    eventually(SOON, "the process leads", || async { said(true, Duration::ZERO) }).await;

    let other = service("gc", "other", &namespace).await;
    let leader = other.elect_with(LEASE, TERMS);
    never(TERMS.duration + TERMS.renew, "two lead", || async {
        leader.leads().then_some(())
    })
    .await;
    frozen.signal("STOP").unwrap();
    leads(&leader).await;
    let taken = clock::boot();
    frozen.signal("CONT").unwrap();
    eventually(SOON, "the process woke and says that it does not lead", || async {
        said(false, taken)
    })
    .await;
    never(TERMS.duration, "the woken process leads", || async {
        said(true, taken)
    })
    .await;
    assert!(leader.leads());

    // A killed leader says nothing: its lease expires.
    other.run(|_| async { Ok(()) }).await.unwrap();
    let released = clock::boot();
    eventually(SOON, "the process leads again", || async { said(true, released) }).await;
    frozen.kill();
    let third = service("gc", "third", &namespace).await;
    let successor = third.elect_with(LEASE, TERMS);
    leads(&successor).await;
    third.run(|_| async { Ok(()) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_and_not_replaced_tells_that_it_leads_again() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("lease").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("standings");
    let frozen = elector(server, &namespace, &log);
    let told = |after: Duration| {
        standings(&log, "told")
            .into_iter()
            .find(|(time, leads)| *time > after && *leads)
    };
    eventually(SOON, "the process leads", || async { told(Duration::ZERO) }).await;
    frozen.signal("STOP").unwrap();
    // Until it leads no more; work that comes up on waking, before the lease is renewed, is put off.
    tokio::time::sleep(TERMS.duration).await;
    let thawed = clock::boot();
    frozen.signal("CONT").unwrap();
    eventually(SOON, "who put work off hears that it goes on", || async {
        told(thawed)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_touch_does_not_unseat_the_leader() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("lease").await.unwrap();
    let service = service("gc", "one", &namespace).await;
    let leader = service.elect_with(LEASE, TERMS);
    leads(&leader).await;
    server
        .kubectl(&["-n", &namespace, "annotate", "lease", LEASE, "touched=yes"])
        .unwrap();
    never(TERMS.duration + TERMS.renew, "unseated", || async {
        (!leader.leads()).then_some(())
    })
    .await;
    server.kubectl(&["-n", &namespace, "delete", "lease", LEASE]).unwrap();
    let record = eventually(SOON, "the lease is made anew", || async {
        let api: Api<Lease> = Api::namespaced(service.client.clone(), &namespace);
        api.get_opt(LEASE).await.unwrap()?.spec
    })
    .await;
    assert!(record.holder_identity.unwrap().starts_with("one_"));
    leads(&leader).await;
    service.run(|_| async { Ok(()) }).await.unwrap();
}

#[test]
fn the_program_that_ties_processes_to_the_test_is_there() {
    assert!(
        Command::new("setpriv")
            .arg("--version")
            .output()
            .unwrap()
            .status
            .success()
    );
}
