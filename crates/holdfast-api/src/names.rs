//! Labels, annotations and finalizers, and how the names of children are made.

/// Finalizer of the data-protection kinds.
pub const FINALIZER: &str = "dataprotection.kubeblocks.io/finalizer";
/// Finalizer of StorageProvider.
pub const STORAGE_FINALIZER: &str = "storage.kubeblocks.io/finalizer";
/// Keeps a restore pod, and with it kubelet's last word about it, until its restore ends.
pub const RESTORE_POD_FINALIZER: &str = "holdfast.io/restore-pod";

/// The cluster that a pod or Backup belongs to.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// The component of the cluster.
pub const LABEL_COMPONENT_NAME: &str = "apps.kubeblocks.io/component-name";
/// Who manages an object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Value of [`LABEL_MANAGED_BY`] on Backups, as the API has it.
pub const MANAGED_BY_KUBEBLOCKS: &str = "kubeblocks";
/// Value of [`LABEL_MANAGED_BY`] on what Holdfast creates.
pub const MANAGED_BY_HOLDFAST: &str = "holdfast";
/// The policy of a Backup.
pub const LABEL_BACKUP_POLICY: &str = "dataprotection.kubeblocks.io/backup-policy";
/// The type of a Backup.
pub const LABEL_BACKUP_TYPE: &str = "dataprotection.kubeblocks.io/backup-type";
/// `true` on Backups that a schedule made.
pub const LABEL_AUTOBACKUP: &str = "dataprotection.kubeblocks.io/autobackup";
/// The Backup that a child belongs to; cut to fit where the name is longer than a label.
pub const LABEL_BACKUP_NAME: &str = "dataprotection.kubeblocks.io/backup-name";
/// Uid of the cluster that was backed up.
pub const LABEL_CLUSTER_UID: &str = "dataprotection.kubeblocks.io/cluster-uid";
/// The repository of a Backup, claim, Secret or StorageClass.
pub const LABEL_BACKUP_REPO_NAME: &str = "dataprotection.kubeblocks.io/backup-repo-name";
/// `true` on Backups that wait for their repository's claim.
pub const LABEL_NEED_REPO_PVC: &str = "dataprotection.kubeblocks.io/need-repo-pvc";
/// The RestoreJob that a Job belongs to.
pub const LABEL_RESTORE_JOB_NAME: &str = "restorejobs.dataprotection.kubeblocks.io/name";
/// Whether a Backup is kept: `Retain` (in any case), `RetainUntilExpired`, `Delete`.
pub const LABEL_BACKUP_PROTECTION: &str = "kubeblocks.io/backup-protection";

/// Uid of the Backup that a child belongs to.
pub const LABEL_BACKUP_UID: &str = "holdfast.io/backup-uid";
/// Uid of the RestoreJob that a child belongs to.
pub const LABEL_RESTORE_UID: &str = "holdfast.io/restore-uid";
/// Uid of the repository that an object was made for.
pub const LABEL_REPO_UID: &str = "holdfast.io/repo-uid";
/// What a Job or pod of Holdfast does: one of the `ROLE_*`.
pub const LABEL_ROLE: &str = "holdfast.io/role";
/// A Job that makes a backup.
pub const ROLE_BACKUP: &str = "backup";
/// A Job that reads a seal again.
pub const ROLE_REPORT: &str = "report";
/// A Job that removes backups' files.
pub const ROLE_PURGE: &str = "purge";
/// A Job that checks a backup before a restore.
pub const ROLE_VERIFY: &str = "verify";
/// A Job that restores.
pub const ROLE_RESTORE: &str = "restore";
/// `true` on workloads that a restore has suspended: scaled to zero replicas.
pub const LABEL_HELD: &str = "holdfast.io/held";

/// The pod that a Backup is made of.
pub const ANNOTATION_TARGET_POD_NAME: &str = "dataprotection.kubeblocks.io/target-pod-name";
/// On a policy: the directory between namespace and Backup in the repository.
pub const ANNOTATION_PATH_PREFIX: &str = "dataprotection.kubeblocks.io/path-prefix";
/// `true` on the repository that is used where none is named.
pub const ANNOTATION_IS_DEFAULT_REPO: &str = "dataprotection.kubeblocks.io/is-default-repo";
/// `true` on claims that a policy caused.
pub const ANNOTATION_CREATED_BY_POLICY: &str = "dataprotection.kubeblocks.io/created-by-policy";

/// When a Backup was admitted, in RFC 3339: from then on executors may start it.
pub const ANNOTATION_ADMITTED: &str = "holdfast.io/admitted";
/// Uid of the policy that a Backup was made for.
pub const ANNOTATION_POLICY_UID: &str = "holdfast.io/policy-uid";
/// The slot that a Backup was made for, in RFC 3339 and UTC.
pub const ANNOTATION_SLOT: &str = "holdfast.io/slot";
/// W3C trace context of the run.
pub const ANNOTATION_TRACEPARENT: &str = "holdfast.io/traceparent";
/// On a suspended workload: [`crate::suspend_lock::SuspendLock`] as JSON.
pub const ANNOTATION_HELD: &str = "holdfast.io/held";
/// On the Job that restores, which is made suspended: it was let go.
pub const ANNOTATION_RELEASED: &str = "holdfast.io/released";
/// The full name of the owner, where the child's own name had to be cut.
pub const ANNOTATION_FULL_NAME: &str = "holdfast.io/full-name";
/// On a tool's pod: [`crate::assignment::Assignment`] as JSON, which the agent reads as a file.
pub const ANNOTATION_ASSIGNMENT: &str = "holdfast.io/assignment";
/// On a repository's claim: the identity that its volume was given.
pub const ANNOTATION_REPOSITORY: &str = "holdfast.io/repository";
/// What keeps Argo CD and Flux from pruning a Backup that a schedule made: it bears the labels of the application, and none
/// of the manifests that they apply.
pub const NOT_PRUNED: [(&str, &str); 3] = [
    ("argocd.argoproj.io/compare-options", "IgnoreExtraneous"),
    ("argocd.argoproj.io/sync-options", "Prune=false"),
    ("kustomize.toolkit.fluxcd.io/prune", "disabled"),
];
/// On a Backup that waits for its repository's claim: why the API server refuses that claim.
pub const ANNOTATION_CLAIM_REFUSED: &str = "holdfast.io/claim-refused";
/// The seal of a backup, in its directory: no backup and no part of a prefix bears that name.
pub const SEAL_FILE: &str = "holdfast.json";
/// `true` on a policy whose backups may be empty.
pub const ANNOTATION_ALLOW_EMPTY: &str = "holdfast.io/allow-empty";
/// On a Backup whose check before a restore failed: what was found. It counts as no good copy any more, and is restored only
/// once somebody has taken this away.
pub const ANNOTATION_DAMAGED: &str = "holdfast.io/damaged";

/// The longest name of a Job, whose name becomes a label of its pods, and the longest label value.
pub const LABEL_MAX: usize = 63;

/// The name of a child: `name` itself where it has at most `max` bytes, else its beginning and eight digits of `uid`.
///
/// At most 43 bytes of a long name are kept, without a trailing `-` or `.`, so that two names which are cut alike
/// still differ by their uid. The result is at most `max` bytes long.
pub fn child_name(name: &str, uid: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let keep = 43.min(max.saturating_sub(9));
    let mut end = keep.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let head = name.get(..end).unwrap_or_default().trim_end_matches(['-', '.', '_']);
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    format!("{head}-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "3f2a9c1e-0000-4000-8000-000000000001";

    #[test]
    fn a_name_that_fits_is_kept() {
        assert_eq!(child_name("b1", UID, 63), "b1");
        let name = "x".repeat(63);
        assert_eq!(child_name(&name, UID, 63), name);
    }

    #[test]
    fn a_long_name_is_cut_and_told_apart_by_uid() {
        let name = "a".repeat(253);
        let child = child_name(&name, UID, 63);
        assert_eq!(child, format!("{}-3f2a9c1e", "a".repeat(43)));
        assert!(child.len() <= 63);
        let dotted = format!("{}{}", "a".repeat(40), ".-".repeat(40));
        assert_eq!(child_name(&dotted, UID, 63), format!("{}-3f2a9c1e", "a".repeat(40)));
    }

    #[test]
    fn a_small_limit_is_kept_to() {
        assert_eq!(
            child_name(&"b".repeat(64), UID, 20),
            format!("{}-3f2a9c1e", "b".repeat(11))
        );
    }
}
