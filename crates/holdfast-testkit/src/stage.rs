//! A namespace of one's own on an API server, where a test plays whoever is not there: users, controllers, kubelet.

use std::{fmt::Debug, future::Future, sync::mpsc, thread::JoinHandle, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{batch::v1::Job, core::v1::Pod, events::v1::Event},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{ApiServer, eventually, play};

/// Longer than anything takes, also on a busy machine.
pub const SOON: Duration = Duration::from_mins(1);

/// Runs a service on a thread and a runtime of its own, because tests and their runtimes come and go. `service` sends
/// what the test needs of it, such as the means to stop it, and then runs to its end.
pub fn aside<T, F, Fut>(service: F) -> (T, JoinHandle<()>)
where
    T: Send + 'static,
    F: FnOnce(mpsc::Sender<T>) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (send, receive) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(service(send));
    });
    (receive.recv().expect("a service that starts"), thread)
}

/// A namespace that no other test has.
#[derive(Clone)]
pub struct Stage {
    /// Connects as cluster administrator.
    pub client: Client,
    /// Its name.
    pub namespace: String,
}

impl Stage {
    /// Makes a namespace on this server.
    pub async fn on(server: &ApiServer, prefix: &str) -> Self {
        Self {
            client: server.client().await.expect("a client"),
            namespace: server.namespace(prefix).await.expect("a namespace"),
        }
    }

    /// Objects of the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of the whole cluster.
    pub fn all<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// Creates an object.
    pub async fn create<K>(&self, api: &Api<K>, object: &K) -> K
    where
        K: Clone + Serialize + DeserializeOwned + Debug,
    {
        let created = Box::pin(api.create(&PostParams::default(), object)).await;
        created.expect("created")
    }

    /// Merges a change into an object, whatever it has become.
    pub async fn patch<K>(&self, api: &Api<K>, name: &str, change: Value) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let merge = Patch::Merge(change);
        let patched = Box::pin(api.patch(name, &PatchParams::default(), &merge)).await;
        patched.expect("patched")
    }

    /// Merges into the status of an object, whatever it has become.
    pub async fn patch_status<K>(&self, api: &Api<K>, name: &str, status: Value) -> K
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let patch = Patch::Merge(json!({ "status": status }));
        let patched = Box::pin(api.patch_status(name, &PatchParams::default(), &patch)).await;
        patched.expect("a status")
    }

    /// Deletes at once, as far as finalizers let it go.
    pub async fn remove<K>(&self, api: &Api<K>, name: &str)
    where
        K: Clone + DeserializeOwned + Debug,
    {
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::background()
        };
        Box::pin(api.delete(name, &at_once)).await.expect("deleted");
    }

    /// Waits until an object of the namespace is gone.
    pub async fn gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = self.api();
        eventually(SOON, &format!("{} {name} gone", K::kind(&())), || async {
            api.get_opt(name).await.ok()?.is_none().then_some(())
        })
        .await;
    }

    /// Waits until an object of the namespace is as asked, at most this long.
    pub async fn within<K>(&self, deadline: Duration, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        let (api, is) = (&self.api::<K>(), &is);
        eventually(deadline, &format!("{} {name} {what}", K::kind(&())), || async move {
            api.get(name).await.ok().filter(|object| is(object))
        })
        .await
    }

    /// Waits until an object of the namespace is as asked.
    pub async fn that<K>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
    {
        self.within(SOON, name, what, is).await
    }

    /// The Events about an object: type, reason and note.
    pub async fn told(&self, uid: Option<&str>) -> Vec<[String; 3]> {
        self.told_in(&self.namespace, uid).await
    }

    async fn told_in(&self, namespace: &str, uid: Option<&str>) -> Vec<[String; 3]> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let events = events.list(&ListParams::default()).await.expect("events");
        let about = events.items.into_iter().filter(|event| {
            let on = event.regarding.as_ref();
            on.and_then(|on| on.uid.as_deref()) == uid
        });
        let words = |event: Event| [event.type_, event.reason, event.note].map(Option::unwrap_or_default);
        about.map(words).collect()
    }

    /// Waits for an Event about an object, and answers its note. What has no namespace is told of in `default`.
    pub async fn tells<K: Resource>(&self, about: &K, reason: &str, warning: bool) -> String {
        let uid = about.meta().uid.as_deref();
        let kind = if warning { "Warning" } else { "Normal" };
        eventually(SOON, &format!("event {kind} {reason}"), || async {
            let namespace = about.meta().namespace.as_deref().unwrap_or("default");
            let told = self.told_in(namespace, uid).await;
            let one = told.into_iter().find(|[k, r, _]| k == kind && r == reason);
            one.map(|[_, _, note]| note)
        })
        .await
    }

    /// Waits for a Job with these labels.
    pub async fn job_with(&self, labels: &str) -> Job {
        let (api, selector) = (self.api::<Job>(), ListParams::default().labels(labels));
        eventually(SOON, &format!("a job with {labels}"), || async {
            api.list(&selector).await.ok()?.items.pop()
        })
        .await
    }

    /// How many Jobs there are.
    pub async fn jobs(&self) -> usize {
        let all = self.api::<Job>().list(&ListParams::default()).await;
        all.expect("jobs").items.len()
    }

    /// Plays the Job controller: a pod by the Job's template.
    pub async fn pod_of(&self, job: &Job) -> Pod {
        self.create(&self.api(), &play::pod_of(job)).await
    }

    /// Plays kubelet.
    pub async fn set_pod_status(&self, pod: &Pod, status: &Value) {
        self.patch_status(&self.api::<Pod>(), &pod.name_any(), status.clone())
            .await;
    }

    /// Plays the Job controller: the Job has ended at `time` (RFC 3339), after `failed` pods that failed.
    pub async fn set_job_ended(&self, job: &Job, complete: bool, failed: usize, time: &str) {
        let status = play::job_ended(complete, failed, time);
        self.patch_status(&self.api::<Job>(), &job.name_any(), status).await;
    }
}
