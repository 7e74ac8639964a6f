//! What Kubernetes does by itself: Jobs get pods, pods work, the database follows its replicas.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{
    agent::is_permanent,
    names::{LABEL_ROLE, ROLE_BACKUP, ROLE_PURGE},
};
use holdfast_core::gc::Batch;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    api::{Guard, Request, text},
    disks::Disks,
    net::Net,
    volumes::volume_of,
};

/// A container at work. It may outlive its pod's object for a while.
pub(crate) struct Process {
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) role: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) batch: Option<Batch>,
    /// The repository's volume.
    pub(crate) volume: String,
    pub(crate) step: u32,
    /// It is frozen, on a node that nobody reaches, and its pod's object is gone.
    frozen: bool,
}

#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) disks: Disks,
    processes: Vec<Process>,
    pods: u32,
    /// By Job: how many pods failed, and those that were counted.
    failed: BTreeMap<String, (i32, BTreeSet<String>)>,
    /// By Job: the pods that it ever had.
    had: BTreeMap<String, BTreeSet<String>>,
}

impl Cluster {
    /// One round of the Job controller.
    pub(crate) fn jobs(&mut self, net: &mut Net) {
        for job in net.api.list::<Job>() {
            let uid = job.uid().unwrap_or_default();
            let over = job.status.as_ref().is_some_and(|status| status.conditions.is_some());
            if over || !text(&json!(job), "/metadata/labels/foreign").is_empty() {
                continue;
            }
            let pods: Vec<Pod> = net.api.list::<Pod>().into_iter().filter(|pod| of(pod, &uid)).collect();
            let phase = |pod: &Pod| {
                pod.status
                    .as_ref()
                    .and_then(|status| status.phase.clone())
                    .unwrap_or_default()
            };
            let (failed, counted) = self.failed.entry(uid.clone()).or_default();
            let mut permanent = false;
            // Pods that are gone count as failed, unless they were drained from a Job that forgives that.
            for gone in self.had.entry(uid.clone()).or_default().iter() {
                if !pods.iter().any(|pod| pod.name_any() == *gone) && counted.insert(gone.clone()) {
                    *failed += 1;
                }
            }
            for pod in pods.iter().filter(|pod| phase(pod) == "Failed") {
                let code = json!(pod)
                    .pointer("/status/containerStatuses/0/state/terminated/exitCode")
                    .and_then(Value::as_i64);
                permanent |= code.is_some_and(|code| is_permanent(i32::try_from(code).unwrap_or_default()));
                if counted.insert(pod.name_any()) {
                    *failed += 1;
                }
            }
            let failed = *failed;
            let limit = job.spec.as_ref().and_then(|spec| spec.backoff_limit).unwrap_or(6);
            let end = if pods.iter().any(|pod| phase(pod) == "Succeeded") {
                Some("Complete")
            } else if permanent || failed > limit {
                Some("Failed")
            } else {
                None
            };
            let status = match end {
                Some(end) => {
                    json!({"failed": failed, "conditions": [{"type": end, "status": "True", "lastTransitionTime": net.api.now.to_string()}]})
                }
                None => json!({ "failed": failed }),
            };
            if text(&json!(job), "/status/failed") != failed.to_string() || end.is_some() {
                net.api
                    .update("Job", &job.name_any(), &uid, &json!({ "status": status }));
            }
            let active = pods
                .iter()
                .any(|pod| !matches!(phase(pod).as_str(), "Failed" | "Succeeded"));
            if end.is_none() && !active {
                self.create(net, &job);
            }
            for pod in pods.iter().filter(|pod| end.is_none() && phase(pod) == "Pending") {
                self.start(net, &job, pod);
            }
        }
    }

    /// A pod waits for its volume.
    fn create(&mut self, net: &mut Net, job: &Job) {
        self.pods += 1;
        let (uid, name) = (job.uid().unwrap_or_default(), format!("pod-{}", self.pods));
        let template = json!(job)["spec"]["template"].clone();
        let mut labels = template["metadata"]["labels"].clone();
        labels["batch.kubernetes.io/controller-uid"] = uid.as_str().into();
        labels["batch.kubernetes.io/job-name"] = job.name_any().into();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "labels": labels, "annotations": template["metadata"]["annotations"],
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": uid, "controller": true}]},
            "spec": template["spec"],
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "the claim is not there", "lastTransitionTime": net.api.now.to_string()}]},
        });
        let stored = net.api.send(&Request::Create(pod)).expect("a new name");
        self.had.entry(uid).or_default().insert(name);
        let pod: Pod = serde_json::from_value(stored).expect("a pod");
        self.start(net, job, &pod);
    }

    /// The container runs, if there is a volume for it.
    fn start(&mut self, net: &mut Net, job: &Job, pod: &Pod) {
        let (uid, name, stored) = (pod.uid().unwrap_or_default(), pod.name_any(), json!(pod));
        let Some(volume) = volume_of(net, &stored["spec"]).filter(|_| pod.metadata.deletion_timestamp.is_none()) else {
            return;
        };
        let running = json!({"status": {"phase": "Running", "conditions": [],
            "containerStatuses": [status(&stored["spec"], &json!({"running": {}}))]}});
        net.api.update("Pod", &name, &uid, &running);
        let variables = stored["spec"]["containers"][0]["env"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        // As kubelet expands it: our own values hold nothing else to expand.
        let seen = |one: &Value| text(one, "/value").replace("$$", "$");
        let environment = variables.iter().map(|one| (text(one, "/name"), seen(one)));
        self.processes.push(Process {
            uid,
            role: text(&stored, &format!("/metadata/labels/{}", LABEL_ROLE.replace('/', "~1"))),
            environment: environment.collect(),
            batch: Batch::of(job),
            volume,
            pod: name,
            step: 0,
            frozen: false,
        });
    }

    /// One step of one process.
    pub(crate) fn work(&mut self, net: &mut Net) {
        let awake: Vec<usize> = (0..self.processes.len())
            .filter(|which| !self.processes[*which].frozen)
            .collect();
        if awake.is_empty() {
            return;
        }
        let which = awake[net.chance.below(awake.len())];
        let exists = net.api.raw("Pod", &self.processes[which].pod).is_some();
        // A process ends with its pod, unless nobody reached its node; then only the repository helps.
        if !exists && !may_linger(&self.processes[which]) {
            self.processes.swap_remove(which);
            return;
        }
        if net.faults && exists && net.chance.one_in(12) {
            return self.kill(net, which);
        }
        let holder = |other: &Process| !other.frozen && other.step > 0 && other.role == ROLE_BACKUP;
        let path = |process: &Process| {
            (
                process.volume.clone(),
                process.environment.get("HOLDFAST_PATH").cloned(),
            )
        };
        let mut others = self.processes.iter().enumerate().filter(|(number, _)| *number != which);
        let busy = others.any(|(_, other)| holder(other) && path(other) == path(&self.processes[which]));
        let process = &mut self.processes[which];
        process.step += 1;
        let Some((code, result)) = self.disks.step(process, busy, net) else {
            return;
        };
        let process = self.processes.swap_remove(which);
        let message = result.encode().expect("a short result");
        end(net, &process, &json!({"exitCode": code, "message": message}), code == 0);
    }

    /// Nodes are reached again: what lingers goes on where it was. False if nothing did.
    pub(crate) fn wake(&mut self, net: &mut Net) -> bool {
        let mut woken = false;
        for process in self.processes.iter_mut().filter(|process| process.frozen) {
            net.note(&format!(
                "{} of {} goes on, after step {}",
                process.pod, process.role, process.step
            ));
            process.frozen = false;
            woken = true;
        }
        woken
    }

    /// A container dies without a word, its pod is deleted, or the pod's object goes and the container stays.
    fn kill(&mut self, net: &mut Net, which: usize) {
        let fate = net.chance.below(3);
        net.note(&format!("{} dies ({fate})", self.processes[which].pod));
        if fate == 0 {
            let process = self.processes.swap_remove(which);
            return end(net, &process, &json!({"exitCode": 137, "reason": "OOMKilled"}), false);
        }
        let Process { pod, uid, .. } = &self.processes[which];
        let of = crate::api::Guard {
            kind: "Pod".to_owned(),
            name: pod.clone(),
            uid: uid.clone(),
            version: None,
        };
        let _ = net.api.send(&Request::Delete { of });
        if fate == 2 && may_linger(&self.processes[which]) {
            self.processes[which].frozen = true;
        } else {
            self.processes.swap_remove(which);
        }
    }

    /// The StatefulSet controller: one pod a replica.
    pub(crate) fn database(&mut self, net: &mut Net) {
        let Some(set) = net.api.raw("StatefulSet", "db").cloned() else {
            return;
        };
        let wanted = set["spec"]["replicas"].as_i64().unwrap_or(1);
        for number in 0..3 {
            let name = format!("db-{number}");
            let uid = net.api.raw("Pod", &name).map(|pod| text(pod, "/metadata/uid"));
            match (uid, number < wanted) {
                (None, true) => {
                    let pod = json!({
                        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "labels": {"app": "db"}},
                        "spec": {"nodeName": "node", "containers": [{"name": "db", "image": "db:1"}]},
                        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
                    });
                    let _ = net.api.send(&Request::Create(pod));
                }
                (Some(_), false) => remove(net, &name),
                (Some(_), true) | (None, false) => {}
            }
        }
        let status = json!({"status": {"replicas": wanted, "readyReplicas": wanted, "observedGeneration": set["metadata"]["generation"]}});
        if set["status"] != status["status"] {
            net.api
                .update("StatefulSet", "db", &text(&set, "/metadata/uid"), &status);
        }
        let runs = net
            .api
            .list::<Pod>()
            .iter()
            .any(|pod| pod.labels().get("app").is_some_and(|app| app == "db"));
        if runs && self.disks.dirty {
            self.disks
                .break_rule("the database runs on a half written volume".to_owned());
        }
    }
}

/// Two writers of one repository fence each other; a volume of the database has no such fence.
fn may_linger(process: &Process) -> bool {
    matches!(process.role.as_str(), ROLE_BACKUP | ROLE_PURGE)
}

fn of(pod: &Pod, job: &str) -> bool {
    pod.labels()
        .get("batch.kubernetes.io/controller-uid")
        .is_some_and(|uid| uid == job)
}

fn status(spec: &Value, state: &Value) -> Value {
    json!({"name": spec["containers"][0]["name"], "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
}

/// Kubelet says how a container ended.
fn end(net: &mut Net, process: &Process, terminated: &Value, well: bool) {
    let Some(pod) = net.api.raw("Pod", &process.pod).cloned() else {
        return;
    };
    net.note(&format!("{} of {} ends: {terminated}", process.pod, process.role));
    let status = json!({"status": {"phase": if well { "Succeeded" } else { "Failed" },
        "containerStatuses": [status(&pod["spec"], &json!({ "terminated": terminated }))]}});
    net.api.update("Pod", &process.pod, &process.uid, &status);
}

/// A pod of the database is drained, and comes back with the controller's next round.
pub(crate) fn drain(net: &mut Net) {
    let name = format!("db-{}", net.chance.below(3));
    remove(net, &name);
}

/// Deletes a pod at once, if it is there.
fn remove(net: &mut Net, name: &str) {
    if let Some(pod) = net.api.get::<Pod>(name) {
        let _ = net.api.send(&Request::Delete { of: Guard::of(&pod) });
    }
}
