//! How each way to fail is told.

use super::*;

/// Asserts that a Backup ends with this reason and text, within the not-ready timeout.
fn fails(change: impl FnOnce(&mut Observed), reason: Reason, text: &str) {
    let mut seen = observed();
    change(&mut seen);
    let mut decision = pass(&mut seen, at(0));
    if status(&decision).phase == Some(BackupPhase::New) {
        decision = pass(&mut seen, at(700));
    }
    let status = status(&decision);
    assert_eq!(status.phase, Some(BackupPhase::Failed), "{text}");
    assert_eq!(outcome(&decision), Some(reason), "{text}");
    assert_eq!(status.failure_reason.as_deref(), Some(text));
    assert!(condition::holds(&status.conditions, STALLED) && !condition::holds(&status.conditions, RECONCILING));
    assert!(status.expiration.is_some() || seen.policy.get().is_none(), "{text}");
    assert!(event(&decision).is_some_and(|event| event.reason == reason), "{text}");
}

fn with_section(change: impl FnOnce(&mut Value)) -> Seen<BackupPolicy> {
    let mut section = section();
    change(&mut section);
    Seen::cached(Some(policy(section)))
}

#[test]
fn each_wrong_name_has_the_text_that_the_api_promises() {
    fails(
        |seen| seen.tool = Seen::cached(None),
        Reason::ToolNotFound,
        "backupTool: t not found",
    );
    fails(
        |seen| seen.repos.clear(),
        Reason::RepoNotFound,
        "backup repo r not found",
    );
    fails(
        |seen| {
            let labels = Arc::make_mut(&mut seen.backup).labels_mut();
            labels.insert(LABEL_BACKUP_REPO_NAME.to_owned(), "labelled".to_owned());
        },
        Reason::RepoNotFound,
        "backup repo labelled not found",
    );
    fails(
        |seen| seen.pods = Some(vec![]),
        Reason::NoTargetPod,
        "can not find any pod to backup by labelsSelector",
    );
    fails(
        |seen| seen.policy = with_section(|section| section["backupRepoName"] = json!("")),
        Reason::BackupPVCNameIsEmpty,
        "the persistentVolumeClaim name of spec.datafile is empty in BackupPolicy \"p\"",
    );
    fails(
        |seen| {
            seen.policy = with_section(|section| section["backupRepoName"] = json!(""));
            let default = |name: &str| {
                let mut repo = (*seen.repos[0]).clone();
                repo.metadata.name = Some(name.to_owned());
                let marks = [(
                    "dataprotection.kubeblocks.io/is-default-repo".to_owned(),
                    "true".to_owned(),
                )];
                repo.metadata.annotations = Some(marks.into());
                Arc::new(repo)
            };
            seen.repos = vec![default("one"), default("two")];
        },
        Reason::MultipleDefaultRepos,
        "multiple default BackupRepo found, both one and two are default",
    );
}

#[test]
fn types_that_are_not_served_have_their_own_texts() {
    let typed = |kind: &str| backup(json!({"backupPolicyName": "p", "backupType": kind}));
    fails(
        |seen| seen.backup = typed("snapshot"),
        Reason::Unsupported,
        "VolumeSnapshot feature disabled.",
    );
    fails(
        |seen| seen.backup = typed("logfile"),
        Reason::BackupNotSupported,
        "backupPolicy: p not supports logfile backup in backupPolicy",
    );
    let logs = |schedule: Value, name: &str| {
        let mut policy = (*policy(section())).clone();
        policy.spec.logfile = policy.spec.datafile.clone();
        policy.spec.schedule = serde_json::from_value(schedule).unwrap();
        let (policy, name) = (Seen::cached(Some(Arc::new(policy))), name.to_owned());
        move |seen: &mut Observed| {
            seen.policy = policy;
            seen.backup = backup(json!({"backupPolicyName": "p", "backupType": "logfile"}));
            Arc::make_mut(&mut seen.backup).metadata.name = Some(name);
        }
    };
    fails(
        logs(json!({}), "b1"),
        Reason::InvalidLogfileBackupName,
        "backup name is incorrect for logfile, you can create the logfile backup by enabling the schedule in BackupPolicy \"p\"",
    );
    fails(
        logs(json!({}), "p-ns-logfile"),
        Reason::BackupNotSupported,
        "backup type \"logfile\" not supported by backup policy \"p\"",
    );
    fails(
        logs(
            json!({"logfile": {"cronExpression": "* * * * *", "enable": false}}),
            "p-ns-logfile",
        ),
        Reason::BackupScheduleDisabled,
        "logfile schedule is disabled, you can enable spec.schedule.logfile in BackupPolicy \"p\"",
    );
    fails(
        logs(
            json!({"logfile": {"cronExpression": "* * * * *", "enable": true}}),
            "p-ns-logfile",
        ),
        Reason::Unsupported,
        "this version of Holdfast backs up data files, not logs",
    );
}

#[test]
fn what_the_policy_must_be_right_about_is_refused_at_once() {
    fails(
        |seen| {
            let mut policy = (*policy(section())).clone();
            policy.spec.datafile = None;
            seen.policy = Seen::cached(Some(Arc::new(policy)));
        },
        Reason::BackupNotSupported,
        "backupPolicy: p not supports datafile backup in backupPolicy",
    );
    fails(
        |seen| seen.policy = with_section(|section| section["target"]["labelsSelector"] = json!({})),
        Reason::InvalidSelector,
        "labelsSelector is empty and would match every pod of the namespace",
    );
    let prefixed = |prefix: &'static str| {
        move |seen: &mut Observed| {
            let mut policy = (*policy(section())).clone();
            let key = "dataprotection.kubeblocks.io/path-prefix".to_owned();
            policy.annotations_mut().insert(key, prefix.to_owned());
            seen.policy = Seen::cached(Some(Arc::new(policy)));
        }
    };
    let reason = Reason::InvalidPathPrefix;
    fails(
        prefixed("/../x"),
        reason,
        "path prefix \"/../x\" has a part that begins with a dot",
    );
    let shell = "path prefix \"$(id)\" holds other characters than letters, digits, '-', '_', '.' and '/'";
    fails(prefixed("$(id)"), reason, shell);
    fails(
        |seen| {
            let tool = Arc::make_mut(seen.tool.object.as_mut().unwrap());
            tool.spec.deploy_kind = holdfast_api::DeployKind::StatefulSet;
        },
        Reason::Unsupported,
        "backupTool t runs continuously (deployKind statefulSet), which data files do not",
    );
}

#[test]
fn a_claim_that_may_not_be_created_is_missed() {
    let claim = |claim: Value| {
        move |seen: &mut Observed| {
            seen.policy = with_section(|section| {
                section["backupRepoName"] = json!("");
                section["persistentVolumeClaim"] = claim;
            });
        }
    };
    fails(
        claim(json!({"name": "mine", "createPolicy": "Never"})),
        Reason::PVCNotFound,
        "persistent volume claim \"mine\" not found",
    );
    let template = json!({"name": "mine", "persistentVolumeConfigMap": {"name": "c", "namespace": "n"}});
    fails(
        claim(template),
        Reason::Unsupported,
        "persistentVolumeConfigMap is not served by this version: create the claim, or name a storageClassName",
    );
}
