//! What Kubernetes does by itself: Jobs get pods, pods work, the database follows its replicas.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_api::{
    agent::is_permanent,
    names::{ANNOTATION_RELEASED, LABEL_RESTORE_UID, LABEL_ROLE, ROLE_BACKUP, ROLE_PURGE, ROLE_RESTORE},
};
use holdfast_core::{
    gc::Batch,
    pod::{JobState, job_state},
};
use jiff::SignedDuration;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    agent::{Agent, Bench},
    api::{Request, text, typed},
    disks::Disks,
    net::{Net, Rule},
    pods::{of, phase, remove, status},
    volumes::volume_of,
};

/// A container at work. It may outlive its pod's object for a while.
struct Process {
    pod: String,
    uid: String,
    role: String,
    agent: Agent,
    /// The repository's volume.
    volume: String,
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
    /// Pods that no node takes.
    stuck: BTreeSet<String>,
    /// The uids of the restores of which a container has started.
    started: BTreeSet<String>,
}

impl Cluster {
    /// One round of the Job controller.
    pub(crate) fn jobs(&mut self, net: &mut Net) {
        // Kubelet ends what its owner's end has deleted and somebody keeps.
        for pod in net.api.list::<Pod>() {
            if pod.metadata.deletion_timestamp.is_some() && matches!(phase(&pod).as_str(), "Pending" | "Running") {
                self.remove(net, &pod.name_any());
            }
        }
        for job in net.api.list::<Job>() {
            if job_state(&job) == JobState::Running && !job.labels().contains_key("foreign") {
                self.job(net, &job);
            }
        }
    }

    fn job(&mut self, net: &mut Net, job: &Job) {
        let (uid, spec) = (job.uid().unwrap_or_default(), job.spec.clone().unwrap_or_default());
        let pods: Vec<Pod> = net.api.list::<Pod>().into_iter().filter(|pod| of(pod, &uid)).collect();
        let (failed, counted) = self.failed.entry(uid.clone()).or_default();
        let mut permanent = false;
        let suspended = spec.suspend == Some(true);
        // Pods that are gone count as failed, unless they were drained from a Job that forgives that.
        for gone in self.had.entry(uid.clone()).or_default().iter() {
            if !pods.iter().any(|pod| pod.name_any() == *gone) && counted.insert(gone.clone()) {
                *failed += 1;
            }
        }
        for pod in pods.iter().filter(|pod| phase(pod) == "Failed") {
            let code = json!(pod)["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64();
            permanent |= code.is_some_and(|code| is_permanent(i32::try_from(code).unwrap_or_default()));
            *failed += i32::from(counted.insert(pod.name_any()));
        }
        let failed = *failed;
        let age = job.creation_timestamp().map(|time| net.api.now.duration_since(time.0));
        let late = spec.active_deadline_seconds.map(SignedDuration::from_secs) < age;
        let end = if pods.iter().any(|pod| phase(pod) == "Succeeded") {
            Some(("Complete", "CompletionsReached"))
        } else if permanent || failed > spec.backoff_limit.unwrap_or(6) {
            Some(("Failed", "BackoffLimitExceeded"))
        } else if late && spec.active_deadline_seconds.is_some() {
            Some(("Failed", "DeadlineExceeded"))
        } else {
            None
        };
        let conditions = end.map(|(kind, reason)| {
            json!([{"type": kind, "status": "True", "reason": reason, "message": reason, "lastTransitionTime": net.api.now.to_string()}])
        });
        let status = json!({ "status": {"failed": failed, "conditions": conditions} });
        if json!(job)["status"]["failed"].as_i64().unwrap_or_default() != i64::from(failed) || end.is_some() {
            net.api.update(&json!(job), &status);
        }
        let open = pods
            .iter()
            .filter(|pod| !matches!(phase(pod).as_str(), "Failed" | "Succeeded"));
        match end {
            Some(("Failed", _)) => open.for_each(|pod| self.remove(net, &pod.name_any())),
            Some(_) => {}
            None if suspended => {
                let left: Vec<&Pod> = open.filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
                // One may start and do some work before kubelet hears of it.
                for pod in left.iter().filter(|pod| phase(pod) == "Pending") {
                    if net.chance.one_in(2) {
                        self.stuck.remove(&pod.name_any());
                        self.start(net, job, pod);
                        (0..3).for_each(|_| self.work(net));
                    }
                }
                for pod in left {
                    self.remove(net, &pod.name_any());
                }
                let told = json!([{"type": "Suspended", "status": "True"}]);
                if json!(job)["status"]["conditions"] != told {
                    if job.annotations().contains_key(ANNOTATION_RELEASED) {
                        net.reach("a restore was taken back");
                    }
                    net.api.update(&json!(job), &json!({"status": {"conditions": told}}));
                }
            }
            None if json!(job)["status"]["conditions"][0]["type"] == "Suspended" => {
                net.api.update(&json!(job), &json!({"status": {"conditions": []}}));
            }
            None if open.clone().next().is_none() => self.create(net, job),
            None => {
                for pod in open.filter(|pod| phase(pod) == "Pending") {
                    self.start(net, job, pod);
                }
            }
        }
    }

    /// A pod waits for a node and for its volume; sometimes for ever.
    fn create(&mut self, net: &mut Net, job: &Job) {
        self.pods += 1;
        let (uid, name) = (job.uid().unwrap_or_default(), format!("pod-{}", self.pods));
        let template = json!(job)["spec"]["template"].clone();
        let mut labels = template["metadata"]["labels"].clone();
        labels["batch.kubernetes.io/controller-uid"] = uid.as_str().into();
        labels["batch.kubernetes.io/job-name"] = job.name_any().into();
        let kept = if net.without(Rule::LastWord) {
            json!([])
        } else {
            template["metadata"]["finalizers"].clone()
        };
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "ns", "labels": labels, "annotations": template["metadata"]["annotations"],
                "finalizers": kept,
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job.name_any(), "uid": uid, "controller": true}]},
            "spec": template["spec"],
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "no node takes it", "lastTransitionTime": net.api.now.to_string()}]},
        });
        let stored = net.api.send(&Request::Create(pod)).expect("a new name");
        self.had.entry(uid).or_default().insert(name.clone());
        let rare = match template["metadata"]["labels"][LABEL_ROLE].as_str() {
            // Nobody ends a purge because it has to wait.
            Some(ROLE_PURGE) => usize::MAX,
            Some(ROLE_RESTORE) => 5,
            _ => 16,
        };
        if net.faults && net.chance.one_in(rare) {
            self.stuck.insert(name);
            if net.chance.one_in(2) {
                let waits = json!({"waiting": {"reason": "CreateContainerConfigError", "message": "a Secret is gone"}});
                let status = json!({"conditions": [], "containerStatuses": [status(&stored["spec"], &waits)]});
                net.api
                    .update(&stored, &json!({"spec": {"nodeName": "node"}, "status": status}));
                net.reach("a pod got a node and did not start");
            }
        }
        self.start(net, job, &typed(&stored));
    }

    /// The container runs, if there is a node and a volume for it.
    fn start(&mut self, net: &mut Net, job: &Job, pod: &Pod) {
        let (uid, name, stored) = (pod.uid().unwrap_or_default(), pod.name_any(), json!(pod));
        let role = text(&stored, &format!("/metadata/labels/{}", LABEL_ROLE.replace('/', "~1")));
        // Now and then there is a node, or a Secret, after all.
        if net.faults && net.chance.one_in(12) {
            self.stuck.remove(&name);
        }
        let waits = self.stuck.contains(&name);
        let age = pod.creation_timestamp().map(|time| net.api.now.duration_since(time.0));
        if waits && role == ROLE_RESTORE && age > Some(SignedDuration::from_mins(9)) {
            net.reach("a restore pod stayed Pending");
        }
        let volume = volume_of(net, &stored["spec"]);
        let Some(volume) = volume.filter(|_| pod.metadata.deletion_timestamp.is_none() && !waits) else {
            return;
        };
        let running = json!({"spec": {"nodeName": "node"}, "status": {"phase": "Running", "conditions": [],
            "containerStatuses": [status(&stored["spec"], &json!({"running": {}}))]}});
        net.api.update(&stored, &running);
        let variables = stored["spec"]["containers"][0]["env"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        // As kubelet expands it: our own values hold nothing else to expand.
        let seen = |one: &Value| text(one, "/value").replace("$$", "$");
        let environment = variables.iter().map(|one| (text(one, "/name"), seen(one)));
        if role == ROLE_RESTORE {
            self.started.extend(pod.labels().get(LABEL_RESTORE_UID).cloned());
        }
        self.processes.push(Process {
            agent: Agent::new(&role, environment.collect(), &uid, Batch::of(job)),
            uid,
            role,
            volume,
            pod: name,
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
        // Nodes are lost at any time, and most of all when there is something to fence.
        let often = if self.processes[which].agent.begins() { 6 } else { 12 };
        if net.faults && exists && net.chance.one_in(often) {
            return self.kill(net, which);
        }
        let process = &mut self.processes[which];
        let mut dirty = self.disks.dirty;
        let end = self.disks.repository(&process.volume).map(|repository| {
            process.agent.step(&mut Bench {
                repository,
                volume: &process.volume,
                dirty: &mut dirty,
                net,
            })
        });
        self.disks.dirty = dirty;
        self.disks.watch(net);
        // Its volume was taken away.
        let lost = || Some((1, holdfast_api::agent::AgentResult::default()));
        let Some((code, result)) = end.unwrap_or_else(lost) else {
            return;
        };
        let process = self.processes.swap_remove(which);
        if process.agent.sealed {
            let agent = &process.agent;
            let place = (process.volume.as_str(), agent.variable("HOLDFAST_PATH"));
            self.disks
                .tell(agent.variable("HOLDFAST_BACKUP_UID"), &process.uid, place, net);
        }
        let message = result.encode().expect("a short result");
        end_of(net, &process, &json!({"exitCode": code, "message": message}), code == 0);
    }

    /// Nodes are reached again: what lingers goes on where it was.
    pub(crate) fn wake(&mut self, net: &mut Net) {
        for process in self.processes.iter_mut().filter(|process| process.frozen) {
            net.note(&format!("{} of {} goes on", process.pod, process.role));
            process.frozen = false;
        }
    }

    /// A container dies without a word, its pod is deleted, or the pod's object goes and the container stays.
    fn kill(&mut self, net: &mut Net, which: usize) {
        let fate = net.chance.below(4);
        net.note(&format!("{} dies ({fate})", self.processes[which].pod));
        if fate == 0 {
            let process = self.processes.swap_remove(which);
            return end_of(net, &process, &json!({"exitCode": 137, "reason": "OOMKilled"}), false);
        }
        let pod = self.processes[which].pod.clone();
        remove(net, &pod);
        let process = &mut self.processes[which];
        if fate > 1 && may_linger(process) {
            process.frozen = true;
            if let Some(repository) = self.disks.repository(&process.volume) {
                process.agent.lose(repository);
            }
        } else {
            self.processes.swap_remove(which);
        }
    }

    /// A pod is deleted, and its container ends.
    fn remove(&mut self, net: &mut Net, pod: &str) {
        self.processes.retain(|process| process.pod != pod || process.frozen);
        remove(net, pod);
    }

    /// The StatefulSet controller: one pod a replica.
    pub(crate) fn database(net: &mut Net) {
        let set = net.api.raw("StatefulSet", "db").cloned().expect("the database");
        let wanted = set["spec"]["replicas"].as_i64().unwrap_or(1);
        for number in 0..3 {
            let name = format!("db-{number}");
            let there = net.api.raw("Pod", &name).cloned();
            match (there, number < wanted) {
                // What was told to end has ended by now.
                (Some(pod), _) if !pod["metadata"]["deletionTimestamp"].is_null() => {
                    net.api.update(&pod, &json!({"metadata": {"finalizers": []}}));
                }
                (None, true) => {
                    let pod = json!({
                        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "ns", "labels": {"app": "db"}, "finalizers": ["example.com/kubelet"]},
                        "spec": {"nodeName": "node", "containers": [{"name": "db", "image": "db:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{name}")}}]},
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
            net.api.update(&set, &status);
        }
    }

    /// Whether a pod of a restore is at work.
    pub(crate) fn restores(&self) -> bool {
        self.processes.iter().any(|process| process.role == ROLE_RESTORE)
    }

    /// Whether a container of that restore has started.
    pub(crate) fn has_started(&self, restore: &str) -> bool {
        self.started.contains(restore)
    }

    /// How many restores write the database's volume.
    pub(crate) fn writers(&self) -> usize {
        self.writing().count()
    }

    /// The uids of the restores that write the database's volume.
    pub(crate) fn writing(&self) -> impl Iterator<Item = &str> {
        let writing = self.processes.iter().filter(|process| process.agent.writes());
        writing.map(|process| process.agent.variable("HOLDFAST_RESTORE_UID"))
    }
}

/// Two writers of one repository fence each other; a volume of the database has no such fence.
fn may_linger(process: &Process) -> bool {
    matches!(process.role.as_str(), ROLE_BACKUP | ROLE_PURGE)
}

/// Kubelet says how a container ended.
fn end_of(net: &mut Net, process: &Process, terminated: &Value, well: bool) {
    let Some(pod) = net.api.raw("Pod", &process.pod).cloned() else {
        return;
    };
    net.note(&format!("{} of {} ends: {terminated}", process.pod, process.role));
    let status = json!({"status": {"phase": if well { "Succeeded" } else { "Failed" },
        "containerStatuses": [status(&pod["spec"], &json!({ "terminated": terminated }))]}});
    net.api.update(&pod, &status);
}
