//! What happened in a namespace, in the order in which the API server took it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use holdfast_api::{
    RestoreJob, condition,
    names::{LABEL_HELD, LABEL_ROLE},
};
use holdfast_core::pod::job_state;
use holdfast_testkit::eventually;
use k8s_openapi::api::batch::v1::Job;
use kube::{
    Api, Resource, ResourceExt,
    runtime::watcher::{Config, Event, watcher},
};
use serde::de::DeserializeOwned;

use crate::world::{SOON, Scaled, World};

/// By the revision of the whole store, which gives states of different kinds an order too.
type Seen = Arc<Mutex<BTreeMap<u64, (String, String)>>>;

/// Every state that each restore, workload and Job of a namespace had.
pub(crate) struct History(Seen);

impl World {
    /// Writes down what happens from now on, and what is there already.
    pub(crate) async fn record(&self) -> History {
        let seen = Seen::default();
        follow(&seen, self.api::<RestoreJob>(), restore_words).await;
        follow(&seen, self.api::<Job>(), job_words).await;
        follow(&seen, self.workloads(), |set| scaled_words(&Scaled::of(set))).await;
        History(seen)
    }
}

impl History {
    /// The states in order, without those that read as the same object's state before.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut last = BTreeMap::new();
        let mut lines = Vec::new();
        for (name, words) in self.0.lock().expect("no panic").values() {
            if last.insert(name.clone(), words.clone()).as_ref() != Some(words) {
                lines.push(format!("{name}: {words}"));
            }
        }
        lines
    }

    /// Fails unless just this has happened.
    pub(crate) async fn is(&self, expected: &[&str]) {
        let began = Instant::now();
        // What was written last may not have come by yet.
        let lines = eventually(SOON, "a history", || async {
            let lines = self.lines();
            (lines == expected || began.elapsed() > Duration::from_secs(3)).then_some(lines)
        })
        .await;
        assert_eq!(lines, expected);
    }

    /// How often these words were said.
    pub(crate) fn count(&self, words: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(words)).count()
    }
}

/// Follows one kind for as long as the test runs; returns when the watch has begun.
async fn follow<K>(seen: &Seen, api: Api<K>, words: impl Fn(&K) -> String + Send + 'static)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let seen = seen.clone();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut begun = Some(begun);
        let mut events = watcher(api, Config::default()).boxed();
        while let Some(event) = events.next().await {
            let (object, words) = match event.expect("an unbroken watch") {
                Event::Init => continue,
                Event::InitDone => {
                    // Told once; a watch that began anew is no news.
                    begun.take().map(|begun| begun.send(()));
                    continue;
                }
                Event::InitApply(object) | Event::Apply(object) => {
                    let words = words(&object);
                    (object, words)
                }
                Event::Delete(object) => (object, "gone".to_owned()),
            };
            let version = object.resource_version().and_then(|version| version.parse().ok());
            let state = (object.name_any(), words);
            seen.lock()
                .expect("no panic")
                .insert(version.expect("a revision"), state);
        }
    });
    has_begun.await.expect("a watch");
}

fn restore_words(found: &RestoreJob) -> String {
    let mut words = vec![found.phase().as_str()];
    if found.finalizers().is_empty() {
        words.push("unguarded");
    }
    let conditions = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let doing = conditions
        .iter()
        .find(|one| one.type_ == condition::RECONCILING && one.status == "True");
    words.extend(doing.map(|doing| doing.reason.as_str()));
    let plan = found.status.as_ref().and_then(|status| status.plan.as_ref());
    if plan.is_some_and(|plan| plan.writing.is_some()) {
        words.push("(may have written)");
    }
    words.join(" ")
}

fn job_words(job: &Job) -> String {
    let role = job.labels().get(LABEL_ROLE).map_or("foreign", String::as_str);
    format!("{role} {:?}", job_state(job))
}

fn scaled_words(scaled: &Scaled) -> String {
    let replicas = scaled.replicas;
    match (&scaled.held, scaled.labels.get(LABEL_HELD).map(String::as_str)) {
        (None, None) => format!("{replicas} replicas"),
        (Some(held), Some("true")) => format!("{replicas} replicas, held by {} that had {}", held.name, held.replicas),
        other => format!("{replicas} replicas, with half a mark {other:?}"),
    }
}
