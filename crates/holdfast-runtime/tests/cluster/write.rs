use holdfast_api::{Backup, BackupPhase, BackupStatus};
use holdfast_runtime::write::{self, WriteError};
use holdfast_testkit::{ApiServer, sample};
use kube::{Api, ResourceExt as _};

use crate::service;

const OTHER_UID: &str = "2d9a4e0c-0000-4000-8000-000000000000";

fn status(phase: BackupPhase) -> BackupStatus {
    BackupStatus {
        phase: Some(phase),
        ..BackupStatus::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_written_only_onto_what_was_read() {
    let server = ApiServer::shared().await;
    let namespace = server.namespace("write").await.unwrap();
    let service = service("executor", "one", &namespace).await;
    let api: Api<Backup> = Api::namespaced(service.client.clone(), &namespace);
    let read = write::create(&api, &sample::backup(&namespace, "b", "p"))
        .await
        .unwrap();

    let first = Backup {
        status: Some(status(BackupPhase::InProgress)),
        ..read.clone()
    };
    let written = write::put_status(&api, &first).await.unwrap();
    assert_eq!(written.status.as_ref().unwrap().phase, Some(BackupPhase::InProgress));
    // Fields are owned in the name of the service.
    let managers: Vec<_> = written
        .managed_fields()
        .iter()
        .filter_map(|field| field.manager.clone())
        .collect();
    assert!(managers.contains(&"holdfast-executor".to_owned()), "{managers:?}");

    let stale = Backup {
        status: Some(status(BackupPhase::Failed)),
        ..read.clone()
    };
    assert!(matches!(
        write::put_status(&api, &stale).await,
        Err(WriteError::Conflict)
    ));

    let mut other = written.clone();
    other.metadata.uid = Some(OTHER_UID.to_owned());
    assert!(matches!(
        write::put_status(&api, &other).await,
        Err(WriteError::Conflict)
    ));

    let mut unread = written.clone();
    unread.metadata.resource_version = None;
    assert!(matches!(
        write::put_status(&api, &unread).await,
        Err(WriteError::Refused(_))
    ));
    assert_eq!(api.get("b").await.unwrap().status, written.status);
}
