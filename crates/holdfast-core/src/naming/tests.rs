use k8s_openapi::{
    api::core::v1::{PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use proptest::prelude::*;

use super::*;

#[test]
fn paths_hold_namespace_prefix_and_name() {
    let table = [
        ("", "/default/b1"),
        ("/mysql/backup", "/default/mysql/backup/b1"),
        ("mysql/backup/", "/default/mysql/backup/b1"),
        ("/", "/default/b1"),
        (" ", "/default/b1"),
        ("/c-3f2a/mysql", "/default/c-3f2a/mysql/b1"),
    ];
    for (prefix, path) in table {
        assert_eq!(backup_path("default", prefix, "b1").as_deref(), Ok(path), "{prefix:?}");
    }
}

#[test]
fn prefixes_that_could_leave_the_repository_are_refused() {
    for prefix in [
        "..",
        "a/../b",
        "/a//b",
        "$(id)",
        "a;b",
        "a b",
        "a\nb",
        ".holdfast",
        "a/.b",
        "-rf",
        "a/--delete",
        "ä",
        "`x`",
        "a\0b",
        "\\",
    ] {
        assert!(backup_path("default", prefix, "b1").is_err(), "{prefix:?}");
    }
}

#[test]
fn hosts_are_relative_to_the_namespace() {
    let mut pod = Pod::default();
    pod.metadata.name = Some("c-0".to_owned());
    assert_eq!(db_host(&pod), "c-0");
    pod.status = Some(PodStatus {
        pod_ip: Some("10.1.2.3".to_owned()),
        ..PodStatus::default()
    });
    assert_eq!(db_host(&pod), "10.1.2.3", "no name of it resolves");
    pod.spec = Some(PodSpec {
        hostname: Some("c-0".to_owned()),
        subdomain: Some("c-headless".to_owned()),
        ..PodSpec::default()
    });
    assert_eq!(db_host(&pod), "c-0.c-headless");
}

#[test]
fn standing_backups_are_named_after_policy_or_owner() {
    let mut policy = BackupPolicy::default();
    policy.metadata.name = Some("p1".to_owned());
    policy.metadata.namespace = Some("default".to_owned());
    assert_eq!(derived(&policy, BackupType::Logfile), "p1-default-logfile");
    let owner = |name: &str| OwnerReference {
        name: name.to_owned(),
        uid: "3f2a9c1e-1".to_owned(),
        ..OwnerReference::default()
    };
    policy.metadata.owner_references = Some(vec![owner("mycluster")]);
    assert_eq!(
        derived(&policy, BackupType::Logfile),
        "3f2a9c1e-mycluster-default-logfile"
    );
    policy.metadata.owner_references = Some(vec![owner("a-very-long-cluster-")]);
    assert_eq!(
        derived(&policy, BackupType::Datafile),
        "3f2a9c1e-a-very-long-cluster-datafile"
    );
    policy.metadata.owner_references = Some(vec![owner("a-very-long-cluster-name")]);
    assert_eq!(
        derived(&policy, BackupType::Datafile),
        "3f2a9c1e-a-very-long-cluster-n-datafile"
    );
}

#[test]
fn slots_of_two_policies_or_types_never_share_a_name() {
    let slot: Timestamp = "2026-03-01T04:05:06Z".parse().unwrap();
    let name = |uid, kind| slot_backup("ns", "shop", uid, kind, slot);
    let first = name("u1", BackupType::Datafile);
    assert!(first.starts_with("backup-ns-shop-20260301040506-"), "{first}");
    assert_ne!(first, name("u2", BackupType::Datafile));
    assert_ne!(first, name("u1", BackupType::Snapshot));
    assert_eq!(first, name("u1", BackupType::Datafile));
}

#[test]
fn what_no_name_may_hold_becomes_a_dash() {
    let slot: Timestamp = "2026-03-01T04:05:06Z".parse().unwrap();
    for (cluster, middle) in [
        ("shop.eu", "ns-shop.eu"),
        ("Shop_A", "ns-shop-a"),
        ("a..b", "ns-a--b"),
        ("a.-b", "ns-a--b"),
        ("", "ns"),
    ] {
        let name = slot_backup("ns", cluster, "u", BackupType::Datafile, slot);
        let start = format!("backup-{middle}-20260301040506-");
        assert!(name.starts_with(&start), "{cluster:?} made {name}");
    }
}

/// What the API server takes as the name of an object (RFC 1123 subdomain).
fn is_object_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|byte| *byte == b'-' || plain(*byte))
            && bytes.first().is_some_and(|byte| plain(*byte))
            && bytes.last().is_some_and(|byte| plain(*byte))
    };
    name.len() <= 253 && name.split('.').all(label)
}

proptest! {
    /// Names come from namespaces and label values of every kind, or from policies with names of any length.
    #[test]
    fn slot_names_are_valid_object_names(
        namespace in "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
        cluster in "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?|[a-z0-9]([a-z0-9]|-[a-z0-9]|\\.[a-z0-9]){0,126}",
        second in 0i64..4_000_000_000,
    ) {
        let slot = Timestamp::from_second(second).unwrap();
        let name = slot_backup(&namespace, &cluster, "u", BackupType::Datafile, slot);
        prop_assert!(is_object_name(&name), "{}", name);
    }

    #[test]
    fn no_prefix_leaves_the_namespace(prefix in "[ -~]{0,40}") {
        if let Ok(path) = backup_path("ns", &prefix, "b") {
            prop_assert!(path.starts_with("/ns/") && path.ends_with("/b"));
            prop_assert!(path.split('/').all(|part| part != ".." && part != "."));
        }
    }
}

#[test]
fn the_name_of_the_seal_is_nobodys() {
    let named = backup_path("ns", "", "holdfast.json").unwrap_err().to_string();
    assert!(named.contains("backup name \"holdfast.json\""), "{named}");
    let prefix = backup_path("ns", "a/holdfast.json", "b").unwrap_err().to_string();
    assert!(prefix.contains("path prefix"), "{prefix}");
}
