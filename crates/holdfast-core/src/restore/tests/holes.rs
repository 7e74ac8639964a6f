//! Ways in which a workload could come back on a volume that is not whole.

use super::*;
use crate::pod::BIN_VOLUME;

/// After a restore that left the volume half written, the state in which the next one begins.
fn half_written() -> World {
    let mut world = world(Some(true), Some(WriteEnd::Dirty));
    world.settle();
    world.next("r2");
    world
}

impl World {
    /// The plan, once there is one.
    fn plan(&mut self) -> RestorePlan {
        self.until(|world| world.seen.plan().is_some());
        self.seen.plan().unwrap().clone()
    }

    /// The Jobs of a plan: the one that checks, and the one that writes.
    fn jobs(&self, plan: &RestorePlan) -> [Job; 2] {
        let work = plan.job().unwrap();
        let tool = || tool::current(&self.seen, plan, work).ok().unwrap();
        [
            jobs::verify_job(&self.seen, plan, work, tool(), at(0)).unwrap(),
            jobs::restore_job(&self.seen, plan, work, tool(), at(0)).unwrap(),
        ]
    }

    fn next(&mut self, name: &str) {
        self.seen = Observed {
            restore: restore(name),
            ..observed()
        };
    }

    pub(super) fn until(&mut self, reached: impl Fn(&Self) -> bool) {
        for _ in 0..40 {
            if reached(self) {
                return;
            }
            self.step();
        }
        panic!("not reached: {:?}", self.seen.restore.status);
    }

    pub(super) fn failed_for(&self, reason: Reason) {
        let status = self.seen.restore.status.as_ref().unwrap();
        assert_eq!(self.seen.restore.phase(), RestoreJobPhase::Failed, "{status:?}");
        let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
        assert_eq!(stalled.reason, reason.as_str(), "{stalled:?}");
    }

    fn stays_held(&self) {
        assert_eq!(
            (self.replicas(), self.suspend_lock().map(|lock| lock.replicas)),
            (0, Some(3))
        );
    }
}

#[test]
fn a_second_restore_that_writes_nothing_leaves_the_half_written_volume_held() {
    // The hold taken over, and every attempt refused before the first byte.
    let mut world = half_written();
    world.write = Some(WriteEnd::Clean);
    world.settle();
    world.failed_for(Reason::TargetDirty);
    world.stays_held();
    // Not taken over yet: the mark is the first one's.
    let mut world = half_written();
    world.verify = Some(false);
    world.settle();
    world.failed_for(Reason::SealInvalid);
    world.stays_held();
    // Taken over, but the deadline comes before the volumes.
    let mut world = half_written();
    world.until(|world| world.suspend_lock().unwrap().name == "r2");
    world.now += 7 * 3600;
    world.settle();
    world.failed_for(Reason::TargetDirty);
    world.stays_held();
    // Taken over, then deleted.
    let mut world = half_written();
    world.until(|world| world.suspend_lock().unwrap().name == "r2");
    world.delete();
    world.settle();
    assert!(world.seen.restore.finalizers().is_empty());
    world.stays_held();
    // A third one that writes everything brings it back.
    world.next("r3");
    world.write = Some(WriteEnd::Restored);
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_clean_attempt_does_not_speak_for_one_whose_pod_is_gone() {
    let mut world = world(Some(true), Some(WriteEnd::Clean));
    world.until(|world| world.seen.write.is_some());
    world.seen.write.as_mut().unwrap().status.as_mut().unwrap().failed = Some(2);
    world.settle();
    world.failed_for(Reason::TargetDirty);
    world.stays_held();
}

#[test]
fn a_clean_job_does_not_speak_for_one_that_is_gone() {
    let mut world = world(Some(true), Some(WriteEnd::Clean));
    world.until(|world| world.seen.write.is_some());
    (world.seen.write, world.seen.write_pods) = (None, Vec::new());
    world.now += 60;
    world.settle();
    world.failed_for(Reason::TargetDirty);
    world.stays_held();
}

#[test]
fn a_foreign_job_in_the_place_of_ours_does_not_release() {
    let mut world = world(Some(true), Some(WriteEnd::Clean));
    world.until(|world| world.seen.write.is_some());
    world.seen.write.as_mut().unwrap().metadata.labels = None;
    world.settle();
    world.failed_for(Reason::TargetDirty);
    world.stays_held();
}

#[test]
fn a_check_whose_pod_never_starts_is_given_up_and_its_job_removed() {
    let mut world = world(None, None);
    world.until(|world| world.seen.verify.is_some());
    let pod = json!({
        "metadata": {"name": "verify"},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]}
    });
    world.seen.verify_pods = vec![serde_json::from_value(pod).unwrap()];
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::InProgressPhy);
    assert!(world.seen.verify.is_some());
    world.now += 600;
    world.settle();
    world.failed_for(Reason::Unschedulable);
    assert!(world.seen.verify.is_none());
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_mark_that_somebody_took_away_does_not_lose_the_count() {
    let mut world = world(Some(true), Some(WriteEnd::Restored));
    world.until(|world| world.suspend_lock().is_some());
    world.set.annotations_mut().remove(ANNOTATION_HELD);
    world.settle();
    assert_eq!(world.seen.restore.phase(), RestoreJobPhase::Completed);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_job_that_the_api_server_never_took_leaves_the_volume_as_it_was() {
    let mut world = world(Some(true), None);
    world.until(World::is_touched);
    world.seen.refused = Some("quota".to_owned());
    world.step();
    // The refusal is forgotten with the process that heard it.
    world.seen.refused = None;
    world.settle();
    world.failed_for(Reason::InvalidPolicy);
    assert_eq!((world.replicas(), world.suspend_lock()), (3, None));
}

#[test]
fn a_drained_pod_of_a_restore_counts_as_an_attempt() {
    let mut world = world(Some(true), None);
    let plan = world.plan();
    let rules = |job: Job| job.spec.unwrap().pod_failure_policy.unwrap().rules;
    let ignored = |job| rules(job).iter().any(|rule| rule.action == "Ignore");
    let [check, write] = world.jobs(&plan);
    assert!(!ignored(write));
    assert!(ignored(check));
}

#[test]
fn the_check_needs_of_the_cluster_what_the_restore_will_need() {
    let mut world = world(Some(true), None);
    let plan = world.plan();
    let container = |job: Job| job.spec.unwrap().template.spec.unwrap().containers.remove(0);
    let [check, write] = world.jobs(&plan).map(container);
    assert_eq!(check.image.as_deref(), Some(plan.job().unwrap().tool.image.as_str()));
    assert_eq!(
        (&check.image, &check.env, &check.env_from),
        (&write.image, &write.env, &write.env_from)
    );
    assert_eq!(check.resources, write.resources);
    assert_eq!(check.command.unwrap(), ["/holdfast/agent", "verify"]);
    assert_eq!(write.command.unwrap(), ["/holdfast/agent", "restore"]);
    assert!(
        check
            .volume_mounts
            .unwrap()
            .iter()
            .filter(|mount| mount.name != BIN_VOLUME)
            .all(|mount| mount.read_only == Some(true))
    );
}

#[test]
fn only_marks_of_restores_that_are_taken_over_may_be_overwritten() {
    let told = |world: &mut World| {
        let plan = world.plan();
        world.jobs(&plan).map(|job| {
            let pod = job.spec.unwrap().template.spec.unwrap();
            let list = pod.containers.into_iter().next().unwrap().env.unwrap();
            let takes_over = list.into_iter().find(|one| one.name == "HOLDFAST_TAKES_OVER");
            takes_over.unwrap().value.unwrap()
        })
    };
    assert_eq!(told(&mut world(Some(true), None)), ["", ""]);
    // The check comes before the hold, so it asks who has it now.
    let mut world = half_written();
    world.look();
    assert_eq!(told(&mut world), ["uid-r1", "uid-r1"]);
    // The second wrote nothing, so the mark is the first one's still: the third takes over both.
    world.write = Some(WriteEnd::Clean);
    world.settle();
    world.next("r3");
    world.until(|world| world.suspend_lock().unwrap().name == "r3");
    world.look();
    assert_eq!(told(&mut world), ["uid-r1,uid-r2"; 2]);
    assert_eq!(world.suspend_lock().unwrap().takes_over, ["uid-r1", "uid-r2"]);
}

#[test]
fn a_command_that_does_not_fit_into_a_pod_is_refused_before_anything_is_stopped() {
    let mut world = world(Some(true), None);
    let tool = world.seen.tool.as_mut().unwrap();
    tool.spec.physical.as_mut().unwrap().restore_commands = Some(vec!["x".repeat(300_000)]);
    world.settle();
    let status = world.seen.restore.status.clone().unwrap();
    let text = status.failure_reason.unwrap_or_default();
    assert!(text.contains("does not fit into a pod"), "{text}");
    assert!(!world.is_touched() && !world.ever_written);
    assert_eq!(world.replicas(), 3);
}
