//! What a restore is refused for before anything is touched.

use futures::future::join_all;
use holdfast_api::{
    Backup, BackupTool,
    condition::Reason,
    names::{ROLE_RESTORE, ROLE_VERIFY},
};
use holdfast_core::restore::Kind;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    play::failure,
    service::shared,
    world::{BACKUP, SHOP, World},
};

/// What makes one restore impossible, and what it says then.
pub(crate) struct Case {
    pub(crate) prefix: &'static str,
    /// Merged into the workload.
    pub(crate) workload: Value,
    /// Merged into the Backup's status.
    pub(crate) backup: Value,
    /// What else is made different.
    pub(crate) change: Change,
    pub(crate) reason: Reason,
    pub(crate) says: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Change {
    Nothing,
    NoWorkload,
    TwoWorkloads,
    AppliedByArgo,
    NoBackup,
    BackupBeingDeleted,
    BackupOfLogs,
    ToolThatOnlyBacksUp,
    EmptySelector,
    MountWithoutVolume,
    MountOverRepository,
    VolumeOfRepository,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            prefix: "refused",
            workload: json!({}),
            backup: json!({}),
            change: Change::Nothing,
            reason: Reason::Unsupported,
            says: "",
        }
    }
}

impl Case {
    pub(crate) async fn check(self) {
        let world = World::bare(shared().await, self.prefix, Kind::StatefulSet).await;
        self.prepare(&world).await;
        let before = if self.change == Change::NoWorkload {
            None
        } else {
            Some(world.scaled().await)
        };
        let restore = world
            .restore_with("r", |document| {
                let spec = &mut document["spec"];
                match self.change {
                    Change::EmptySelector => spec["target"]["labelsSelector"] = json!({}),
                    Change::MountWithoutVolume => spec["targetVolumeMounts"][0]["name"] = json!("other"),
                    Change::MountOverRepository => spec["targetVolumeMounts"][0]["mountPath"] = json!("/backupdata"),
                    Change::VolumeOfRepository => {
                        spec["targetVolumes"][0]["name"] = json!("backup-pvc-r");
                        spec["targetVolumeMounts"][0]["name"] = json!("backup-pvc-r");
                    }
                    _ => {}
                }
            })
            .await;
        let text = world.fails("r", self.reason).await;
        assert!(text.contains(self.says), "{}: {text}", self.prefix);
        assert_eq!(world.tells(&restore, self.reason.as_str(), true).await, text);
        assert_eq!(world.jobs().await, 0, "{}", self.prefix);
        if let Some(before) = before {
            assert_eq!(world.scaled().await, before, "{}", self.prefix);
        }
    }

    async fn prepare(&self, world: &World) {
        if self.change != Change::NoBackup {
            world.backup(self.backup.clone()).await;
        }
        if self.change != Change::NoWorkload {
            world.workload(SHOP, self.workload.clone()).await;
            world.play_workload().await;
        }
        let backups: Api<Backup> = world.api();
        match self.change {
            Change::TwoWorkloads => world.workload("other", json!({})).await,
            Change::AppliedByArgo => {
                let own = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {"replicas": 3}});
                let as_argo = PatchParams::apply("argocd-controller").force();
                let applied = world.workloads().patch(SHOP, &as_argo, &Patch::Apply(own)).await;
                applied.expect("applied");
            }
            Change::BackupBeingDeleted => {
                let kept = json!({"metadata": {"finalizers": ["holdfast.io/test"]}});
                world.patch(&backups, BACKUP, kept).await;
                let deleted = backups.delete(BACKUP, &DeleteParams::default()).await;
                deleted.expect("deleted");
            }
            Change::BackupOfLogs => {
                let logs = json!({"spec": {"backupType": "logfile"}});
                world.patch(&backups, BACKUP, logs).await;
            }
            Change::ToolThatOnlyBacksUp => {
                let tools: Api<BackupTool> = Api::all(world.client.clone());
                let no_way_back = json!({"spec": {"physical": null}});
                world.patch(&tools, &world.tool(), no_way_back).await;
            }
            _ => {}
        }
    }
}

fn owner(controller: bool) -> Value {
    let owner = json!({"apiVersion": "apps.kubeblocks.io/v1alpha1", "kind": "Component", "name": "shop", "uid": "u",
        "controller": controller});
    json!({"metadata": {"ownerReferences": [owner]}})
}

#[tokio::test]
async fn what_cannot_come_right_is_refused_at_once() {
    let cases = [
        Case {
            prefix: "owned",
            workload: owner(true),
            reason: Reason::ManagedByOperator,
            says: "StatefulSet shop is scaled by Component shop",
            ..Case::default()
        },
        Case {
            prefix: "gitops",
            change: Change::AppliedByArgo,
            reason: Reason::ManagedByOperator,
            says: "StatefulSet shop is scaled by argocd-controller",
            ..Case::default()
        },
        Case {
            prefix: "when-scaled",
            workload: json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete"}}}),
            reason: Reason::WhenScaledDelete,
            says: "deletes its claims",
            ..Case::default()
        },
        Case {
            prefix: "two",
            change: Change::TwoWorkloads,
            reason: Reason::MultipleWorkloads,
            says: "Match more than one results, please check the labelsSelector.",
            ..Case::default()
        },
        Case {
            prefix: "unreadable-mark",
            workload: json!({"metadata": {"annotations": {"holdfast.io/held": "{}"}}}),
            reason: Reason::WorkloadHeld,
            says: "a mark of a restore that cannot be read",
            ..Case::default()
        },
        Case {
            prefix: "failed",
            backup: json!({"phase": "Failed"}),
            reason: Reason::BackupNotCompleted,
            says: "Backup b1 is Failed",
            ..Case::default()
        },
        Case {
            prefix: "leaving",
            change: Change::BackupBeingDeleted,
            reason: Reason::BackupNotCompleted,
            says: "Backup b1 is being deleted",
            ..Case::default()
        },
        Case {
            prefix: "no-digest",
            backup: json!({"manifests": {"backupTool": {"checksum": null}}}),
            reason: Reason::SealInvalid,
            says: "no manifests.backupTool.checksum",
            ..Case::default()
        },
        Case {
            prefix: "logs",
            change: Change::BackupOfLogs,
            says: "Backup b1 is of type logfile",
            ..Case::default()
        },
        Case {
            prefix: "one-way",
            change: Change::ToolThatOnlyBacksUp,
            says: "has no physical.restoreCommands",
            ..Case::default()
        },
        Case {
            prefix: "all-pods",
            change: Change::EmptySelector,
            reason: Reason::InvalidSelector,
            ..Case::default()
        },
        Case {
            prefix: "no-volume",
            change: Change::MountWithoutVolume,
            reason: Reason::InvalidPolicy,
            says: "names volume other, which targetVolumes lacks",
            ..Case::default()
        },
        Case {
            prefix: "over",
            change: Change::MountOverRepository,
            reason: Reason::InvalidPolicy,
            says: "cannot use name data and path /backupdata",
            ..Case::default()
        },
        Case {
            prefix: "same-volume",
            change: Change::VolumeOfRepository,
            reason: Reason::InvalidPolicy,
            says: "targetVolumes uses the name backup-pvc-r",
            ..Case::default()
        },
    ];
    join_all(cases.map(Case::check)).await;
}

#[tokio::test]
async fn an_owner_that_is_no_controller_is_no_obstacle() {
    let world = World::bare(shared().await, "plain-owner", Kind::StatefulSet).await;
    world.backup(json!({})).await;
    world.workload(SHOP, owner(false)).await;
    world.play_workload().await;
    let restore = world.restore("r").await;
    world.job(&restore, ROLE_VERIFY).await;
}

#[tokio::test]
async fn a_workload_that_another_restore_works_on_is_waited_for() {
    let world = World::new("held").await;
    let (_, write) = world.writing("first").await;
    let held = world.scaled().await;
    // One gives up, the other one comes late enough to have its turn.
    world.restore("impatient").await;
    world.says("impatient", "WorkloadHeld").await;
    let text = world.fails("impatient", Reason::WorkloadHeld).await;
    assert!(text.contains("StatefulSet shop is held by RestoreJob first"), "{text}");
    assert_eq!(world.scaled().await, held);
    let second = world.restore("second").await;
    world.says("second", "WorkloadHeld").await;
    assert_eq!(world.scaled().await, held);
    world.succeed(&write).await;
    let verify = world.job(&second, ROLE_VERIFY).await;
    world.back().await;
    world.play_workload().await;
    world.completes("first").await;
    // The checks of several may run side by side; the workload is held by one after the other.
    world.succeed(&verify).await;
    assert_eq!(world.held_by("second").await.counts(), (0, Some(3)));
    world.play_workload().await;
    world.succeed(&world.job(&second, ROLE_RESTORE).await).await;
    world.back().await;
    world.play_workload().await;
    world.completes("second").await;
}

#[tokio::test]
async fn a_backup_that_does_not_verify_stops_nothing() {
    let world = World::new("verify").await;
    let before = world.scaled().await;
    let restore = world.restore("r").await;
    let verify = world.job(&restore, ROLE_VERIFY).await;
    world.fail(&verify, &[failure(Reason::DigestMismatch, false)]).await;
    let text = world.fails("r", Reason::DigestMismatch).await;
    assert!(text.contains("backup b1 was not restored: said the agent"), "{text}");
    world.restore("unasked").await;
    let text = world.fails("unasked", Reason::DigestMismatch).await;
    assert!(text.contains("is damaged"), "{text}");
    world.have_it_checked_again().await;
    // Without a word, what the Job says must do.
    let silent = world.restore("silent").await;
    let verify = world.job(&silent, ROLE_VERIFY).await;
    world.end(&verify, "Failed", 1).await;
    let text = world.fails("silent", Reason::SealInvalid).await;
    assert!(text.contains("played"), "{text}");
    assert_eq!(world.scaled().await, before);
    assert_eq!(world.jobs().await, 2);
}
