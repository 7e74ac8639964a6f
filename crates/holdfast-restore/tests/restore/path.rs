//! Restores that go well.

use holdfast_api::names::{ROLE_RESTORE, ROLE_VERIFY};
use holdfast_core::restore::Kind;
use holdfast_testkit::eventually;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use crate::{
    service::shared,
    world::{REPLICAS, SOON, World},
};

#[tokio::test]
async fn a_stateful_set_is_stopped_written_and_brought_back() {
    whole_path(Kind::StatefulSet, "set").await;
}

#[tokio::test]
async fn a_deployment_is_stopped_written_and_brought_back() {
    whole_path(Kind::Deployment, "deployment").await;
}

async fn whole_path(kind: Kind, prefix: &str) {
    let world = World::on(shared().await, prefix, kind).await;
    let history = world.record().await;
    let restore = world.restore("r").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    world.succeed(&verify).await;
    let held = world.held_by("r").await.held.expect("a mark");
    assert_eq!(
        (Some(&held.uid), held.name.as_str(), held.replicas),
        (restore.metadata.uid.as_ref(), "r", REPLICAS)
    );
    world.says("r", "ScalingDown").await;
    world.play_workload().await;
    let write = world.job(&restore, ROLE_RESTORE).await;
    world.says("r", "Restoring").await;
    world.succeed(&write).await;
    world.back().await;
    world.says("r", "ScalingUp").await;
    world.play_workload().await;
    let done = world.completes("r").await;
    for step in ["Verifying", "ScalingDown", "Restoring", "ScalingUp", "Completed"] {
        world.tells(&done, step, false).await;
    }

    for (job, reads_only) in [(&verify, true), (&write, false)] {
        assert_eq!(job.owner_references()[0].uid, restore.uid().expect("a uid"));
        let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let pod = pod.expect("a pod");
        assert_eq!(pod.automount_service_account_token, Some(false));
        let mounts = pod.containers[0].volume_mounts.iter().flatten();
        let read_only = |path: &str| {
            let mut mounts = mounts.clone().filter(|mount| mount.mount_path == path);
            mounts.next().expect("a mount").read_only.unwrap_or_default()
        };
        assert_eq!((read_only("/data"), read_only("/backupdata")), (reads_only, true));
    }
    let name = verify.name_any();
    let expected = [
        "shop: 3 replicas",
        "r: New unguarded",
        "r: New",
        "r: InProgressPhy Verifying",
        &format!("{name}: verify Running"),
        &format!("{name}: verify Complete"),
        "shop: 0 replicas, held by r that had 3",
        "r: InProgressPhy ScalingDown",
        "r: InProgressPhy ScalingDown (may have written)",
        "r: restore Running",
        "r: InProgressPhy Restoring (may have written)",
        "r: restore Complete",
        "shop: 3 replicas",
        "r: InProgressPhy ScalingUp (may have written)",
        "r: Completed (may have written)",
    ];
    history.is(&expected).await;
}

#[tokio::test]
async fn a_restore_job_that_somebody_deletes_is_made_anew() {
    let world = World::new("anew").await;
    let (restore, first) = world.writing("r").await;
    world.remove(&world.api::<Job>(), "r").await;
    let second = eventually(SOON, "another job", || async {
        let job = world.job(&restore, ROLE_RESTORE).await;
        (job.metadata.uid != first.metadata.uid).then_some(job)
    })
    .await;
    assert_eq!(world.scaled().await.counts(), (0, Some(REPLICAS)));
    world.succeed(&second).await;
    world.back().await;
    world.play_workload().await;
    world.completes("r").await;
}
