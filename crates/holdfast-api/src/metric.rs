//! The one list of metrics: what services register, and what the documents say.

use crate::Service;

/// Bounds of a histogram, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bounds {
    /// For reconciling and requests: milliseconds to half a minute.
    Fast,
    /// For backups and restores: seconds to a day.
    Slow,
}

impl Bounds {
    /// The upper bounds.
    pub const fn seconds(self) -> &'static [f64] {
        match self {
            Self::Fast => &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0],
            Self::Slow => &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0],
        }
    }
}

/// How a metric is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricType {
    /// Only grows; the name ends in `_total`.
    Counter,
    /// Goes up and down; the name ends in its unit.
    Gauge,
    /// A distribution of durations; the name ends in `_seconds`.
    Histogram(Bounds),
}

impl MetricType {
    /// The word in the documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A metric. Only this module makes one, so that the list is complete.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// The services that have it.
    pub services: &'static [Service],
    /// The name behind `holdfast_<service>_`.
    pub name: &'static str,
    /// How it is counted.
    pub kind: MetricType,
    /// Its labels. They never carry names of objects, except those of policies, repositories and namespaces.
    pub labels: &'static [&'static str],
    /// What is counted or measured.
    pub unit: &'static str,
    /// What it tells, in one sentence.
    pub help: &'static str,
}

const EVERY: &[Service] = &Service::ALL;
const COUNTER: MetricType = MetricType::Counter;
const GAUGE: MetricType = MetricType::Gauge;
const FAST: MetricType = MetricType::Histogram(Bounds::Fast);
const SLOW: MetricType = MetricType::Histogram(Bounds::Slow);
const SCHEDULER: &[Service] = &[Service::Scheduler];
const EXECUTOR: &[Service] = &[Service::Executor];
const REPO_MANAGER: &[Service] = &[Service::RepoManager];
const GC: &[Service] = &[Service::Gc];
const RESTORE: &[Service] = &[Service::Restore];
const WHO_FAILS: &[Service] = &[Service::Scheduler, Service::Executor];

macro_rules! metrics {
    ($($id:ident: $services:ident, $kind:ident, $name:literal [$($label:literal),*], $unit:literal, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $id: Metric = Metric {
                services: $services,
                name: $name,
                kind: $kind,
                labels: &[$($label),*],
                unit: $unit,
                help: $help,
            };
        )*

        /// Every metric.
        pub const ALL: &[Metric] = &[$($id,)*];
    };
}

metrics! {
    API_REQUESTS: EVERY, COUNTER, "api_requests_total" ["verb", "resource", "code"], "requests", "Requests to the API server, by verb, resource and class of the answer.";
    WATCH_OBJECTS: EVERY, GAUGE, "watch_objects" ["watch"], "objects", "Objects held by a watch.";
    WATCH_EVENTS: EVERY, COUNTER, "watch_events_total" ["watch"], "changes", "Changes seen by a watch.";
    WATCH_ERRORS: EVERY, COUNTER, "watch_errors_total" ["watch"], "errors", "Times that a watch broke and began anew.";
    WATCH_MALFORMED: EVERY, COUNTER, "watch_malformed_total" ["watch"], "objects", "Objects left out because they could not be read.";
    QUEUE_DEPTH: EVERY, GAUGE, "queue_depth_objects" ["queue"], "objects", "Objects that wait for a run.";
    QUEUE_RUNNING: EVERY, GAUGE, "queue_running_objects" ["queue"], "objects", "Objects that are being run.";
    QUEUE_WAIT: EVERY, FAST, "queue_wait_seconds" ["queue"], "seconds", "Time from being due to being run.";
    RUNS: EVERY, COUNTER, "runs_total" ["queue"], "runs", "Runs that finished.";
    FAILURES: EVERY, COUNTER, "failures_total" ["queue", "category"], "runs", "Runs that failed, by category.";
    RUN_DURATION: EVERY, FAST, "run_seconds" ["queue"], "seconds", "Duration of runs.";
    LEADING: EVERY, GAUGE, "leading_leases" ["lease"], "leases", "1 while this process holds the lease.";
    EVENTS_LOST: EVERY, COUNTER, "events_lost_total" ["cause"], "events", "Events that could not be recorded.";
    BUS_CONNECTED: EVERY, GAUGE, "bus_connected_servers" [], "servers", "1 while the bus is connected.";
    BUS_PUBLISHED: EVERY, COUNTER, "bus_published_total" ["verb"], "messages", "Event messages that the bus took.";
    BUS_DROPPED: EVERY, COUNTER, "bus_dropped_total" ["cause"], "messages", "Event messages that were dropped, by cause.";
    BUS_WOKEN: EVERY, COUNTER, "bus_woken_total" ["consumer"], "messages", "Event messages that woke a queue.";
    BUS_CONSUMER_ERRORS: EVERY, COUNTER, "bus_consumer_errors_total" ["consumer"], "errors", "Times that a consumer began anew.";

    BACKUP_FAILURES: WHO_FAILS, COUNTER, "backup_failures_total" ["namespace", "policy", "reason"], "backups", "Backups that ended as Failed, by reason: before they began (scheduler) and after (executor). No policy: there is none of that name.";

    SCHEDULER_LAST_SUCCESS: SCHEDULER, GAUGE, "last_success_timestamp_seconds" ["namespace", "policy"], "seconds", "When a backup of the policy last completed, as Unix time.";
    SCHEDULER_LAST_SLOT: SCHEDULER, GAUGE, "last_slot_timestamp_seconds" ["namespace", "policy"], "seconds", "The newest slot that a backup was made for, as Unix time.";
    SCHEDULER_NEXT_SLOT: SCHEDULER, GAUGE, "next_slot_timestamp_seconds" ["namespace", "policy"], "seconds", "When the policy's schedule comes due next, as Unix time.";
    SCHEDULER_POLICY_AVAILABLE: SCHEDULER, GAUGE, "policy_available_policies" ["namespace", "policy"], "policies", "1 if the policy can be used.";
    SCHEDULER_ADMISSIONS: SCHEDULER, COUNTER, "admissions_total" ["reason"], "backups", "Backups that were let in or turned away, by reason.";
    SCHEDULER_SLOTS: SCHEDULER, COUNTER, "slots_total" ["namespace", "policy", "outcome"], "slots", "Slots that were made, missed or skipped.";

    EXECUTOR_ACTIVE: EXECUTOR, GAUGE, "active_backups" ["phase"], "backups", "Backups that are not over, by phase.";
    EXECUTOR_STEPS: EXECUTOR, SLOW, "backup_step_seconds" ["step"], "seconds", "Duration of a Backup's steps: admitted to started, started to job, started to completed.";

    REPO_PHASE: REPO_MANAGER, GAUGE, "repo_phase_repos" ["repo", "phase"], "repos", "1 for the phase that the repository is in, 0 for the others.";
    REPO_PROVIDERS: REPO_MANAGER, GAUGE, "provider_phase_providers" ["phase"], "providers", "Storage providers in the phase.";
    REPO_PROBLEMS: REPO_MANAGER, COUNTER, "repo_problems_total" ["repo", "reason"], "problems", "Problems of repositories that were reported, by reason.";
    REPO_CLAIMS_CREATED: REPO_MANAGER, COUNTER, "claims_created_total" ["repo"], "claims", "Claims that were created for repositories.";

    GC_DELETED: GC, COUNTER, "deleted_total" ["reason"], "backups", "Backups that were let go, by what deleted them: expired, history-limit or user.";
    GC_PURGED: GC, COUNTER, "purged_total" [], "backups", "Backups whose files were removed.";
    GC_FREED: GC, COUNTER, "freed_bytes_total" [], "bytes", "Sizes of the files that purge jobs removed, also those that failed, as their agents told.";
    GC_PURGE_FAILURES: GC, COUNTER, "purge_failures_total" [], "jobs", "Purge jobs that failed.";
    GC_PURGE_DURATION: GC, SLOW, "purge_seconds" [], "seconds", "Duration of purge jobs that removed everything.";
    GC_BLOCKED: GC, GAUGE, "blocked_backups" [], "backups", "Deleted Backups that wait for increments that stay.";

    RESTORE_JOBS: RESTORE, GAUGE, "restorejobs_objects" ["phase"], "objects", "Restores, by phase.";
    RESTORE_ENDED: RESTORE, COUNTER, "ended_total" ["outcome", "reason"], "restores", "Restores that ended, by outcome and reason.";
    RESTORE_STEPS: RESTORE, SLOW, "step_seconds" ["step"], "seconds", "Time from a restore's start to the end of each step.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_end_as_their_type_asks_and_no_service_has_one_twice() {
        let mut known = BTreeSet::new();
        for metric in ALL {
            let fits = match metric.kind {
                MetricType::Counter => metric.name.ends_with("_total"),
                MetricType::Gauge => metric.name.ends_with(&format!("_{}", metric.unit)),
                MetricType::Histogram(_) => metric.unit == "seconds" && metric.name.ends_with("_seconds"),
            };
            assert!(fits, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            for service in metric.services {
                assert!(known.insert((*service, metric.name)), "{}", metric.name);
            }
        }
    }

    #[test]
    fn labels_name_no_object_but_policy_repository_and_namespace() {
        let known = [
            "category",
            "cause",
            "code",
            "consumer",
            "lease",
            "namespace",
            "outcome",
            "phase",
            "policy",
            "queue",
            "reason",
            "repo",
            "resource",
            "step",
            "verb",
            "watch",
        ];
        for metric in ALL {
            assert!(
                metric.labels.iter().all(|label| known.contains(label)),
                "{}",
                metric.name
            );
        }
    }
}
