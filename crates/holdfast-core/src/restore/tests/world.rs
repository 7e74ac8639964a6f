//! A cluster of one StatefulSet, as far as restores can see it.

use super::*;

/// A cluster of one StatefulSet, as far as restores can see it. It applies what is decided, and lets Jobs end as told.
pub(super) struct World {
    pub(super) seen: Observed,
    pub(super) set: StatefulSet,
    pub(super) verify: Option<bool>,
    pub(super) write: Option<WriteEnd>,
    pub(super) ever_written: bool,
    pub(super) now: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum WriteEnd {
    Restored,
    Dirty,
    Clean,
    Silent,
}

impl World {
    fn job(&self, kind: &str, state: Option<(&str, Option<Value>)>) -> (Job, Vec<Pod>) {
        let conditions = state
            .as_ref()
            .map(|(state, _)| json!([{"type": state, "status": "True"}]));
        let job = serde_json::from_value(json!({
            "metadata": {"name": kind, "uid": kind, "labels": {LABEL_RESTORE_UID: self.seen.restore.uid()}, "creationTimestamp": at(self.now).to_string()},
            "spec": {"suspend": kind == "write", "template": {}},
            "status": {"conditions": conditions, "failed": i32::from(state.as_ref().is_some_and(|(state, _)| *state == "Failed"))}
        }))
        .unwrap();
        let pods = state.and_then(|(state, message)| {
            let message = message?;
            let phase = if state == "Complete" { "Succeeded" } else { "Failed" };
            Some(serde_json::from_value(json!({
                "metadata": {"name": kind},
                "status": {"phase": phase, "containerStatuses": [{"name": "restore", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"terminated": {"exitCode": i32::from(state != "Complete"), "message": message.to_string()}}}]}
            })).unwrap())
        });
        (job, pods.into_iter().collect())
    }

    /// What is decided a second later.
    pub(super) fn look(&mut self) -> Decision {
        self.now += 1;
        self.seen.workloads = vec![Workload::stateful_set(&self.set)];
        self.seen.holder = match self.seen.workloads[0].suspend_lock() {
            None => LockHolder::Nobody,
            Some(lock) if Some(&lock.uid) == self.seen.restore.uid().as_ref() => LockHolder::Ours,
            Some(_) => LockHolder::Over,
        };
        decide(&self.seen, at(self.now))
    }

    /// One pass; false when nothing was written.
    pub(super) fn step(&mut self) -> bool {
        let decision = self.look();
        self.apply(decision)
    }

    /// Writes what is decided; false when that is nothing.
    pub(super) fn apply(&mut self, decision: Decision) -> bool {
        let Some(write) = decision.write else { return false };
        match write {
            Write::Status(status) => self.seen.restore.status = Some(*status),
            Write::Metadata(metadata) => {
                self.seen.restore.metadata.finalizers = serde_json::from_value(metadata["finalizers"].clone()).unwrap()
            }
            Write::Patch(target, patch) => match target.kind {
                Kind::Job => {
                    let spec = self.seen.write.as_mut().unwrap().spec.get_or_insert_default();
                    spec.suspend = patch["spec"]["suspend"].as_bool();
                    let job = self.seen.write.as_mut().unwrap();
                    if patch["metadata"]["annotations"].is_object() {
                        job.annotations_mut()
                            .insert(ANNOTATION_RELEASED.to_owned(), String::new());
                    }
                }
                Kind::Pod => {
                    let mut pods = self.seen.write_pods.iter_mut();
                    pods.find(|pod| pod.name_any() == target.name)
                        .unwrap()
                        .metadata
                        .finalizers = None;
                }
                _ => self.patch(&patch),
            },
            Write::Delete(target) if target.name == "verify" => self.seen.verify = None,
            Write::Delete(_) => {
                self.seen.write = None;
                self.seen.write_pods.retain(|pod| !pod.finalizers().is_empty());
            }
            Write::Create(Child::Job(job)) if job.name_any().starts_with("holdfast-verify-") => {
                let state = self
                    .verify
                    .map(|good| if good { ("Complete", None) } else { ("Failed", None) });
                let (job, pods) = self.job("verify", state);
                (self.seen.verify, self.seen.verify_pods) = (Some(job), pods);
            }
            Write::Create(_) => {
                assert_eq!(
                    self.set.spec.as_ref().unwrap().replicas,
                    Some(0),
                    "written while the workload runs"
                );
                // Without a pod nothing is written.
                self.ever_written |= !matches!(self.write, None | Some(WriteEnd::Clean));
                let result = |dirty: bool| {
                    Some(json!({"v": 1, "outcome": "Failed", "reason": "ToolFailed", "message": "m", "dirty": dirty}))
                };
                let state = self.write.map(|end| match end {
                    WriteEnd::Restored => ("Complete", None),
                    WriteEnd::Dirty => ("Failed", result(true)),
                    WriteEnd::Clean => ("Failed", result(false)),
                    WriteEnd::Silent => ("Failed", None),
                });
                let (job, pods) = self.job("write", state);
                (self.seen.write, self.seen.write_pods) = (Some(job), pods);
            }
        }
        true
    }

    fn patch(&mut self, patch: &Value) {
        let spec = self.set.spec.as_mut().unwrap();
        spec.replicas = Some(i32::try_from(patch["spec"]["replicas"].as_i64().unwrap()).unwrap());
        let status = self.set.status.as_mut().unwrap();
        status.ready_replicas = spec.replicas;
        let annotations = self.set.annotations_mut();
        match patch["metadata"]["annotations"][ANNOTATION_HELD].as_str() {
            Some(mark) => annotations.insert(ANNOTATION_HELD.to_owned(), mark.to_owned()),
            None => annotations.remove(ANNOTATION_HELD),
        };
    }

    pub(super) fn suspend_lock(&self) -> Option<SuspendLock> {
        Workload::stateful_set(&self.set).suspend_lock()
    }

    pub(super) fn is_touched(&self) -> bool {
        self.seen.plan().is_some_and(undo::is_touched)
    }

    pub(super) fn delete(&mut self) {
        self.seen.restore.metadata.deletion_timestamp = Some(Time(at(self.now)));
    }

    pub(super) fn replicas(&self) -> i32 {
        self.set.spec.as_ref().unwrap().replicas.unwrap()
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..40 {
            if !self.step() {
                return;
            }
        }
        panic!("never comes to rest: {:?}", self.seen.restore.status);
    }
}

pub(super) fn world(verify: Option<bool>, write: Option<WriteEnd>) -> World {
    World {
        seen: observed(),
        set: set(|_| {}),
        verify,
        write,
        ever_written: false,
        now: 1,
    }
}

/// A world whose restore Job is made, and not let go yet.
pub(super) fn with_job() -> World {
    let mut world = world(Some(true), None);
    world.until(|world| world.seen.write.is_some());
    world
}
