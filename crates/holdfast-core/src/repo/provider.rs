//! Whether a StorageProvider can be used: its CSI driver has to be installed.

use holdfast_api::{
    StorageProvider, StorageProviderPhase, StorageProviderStatus,
    condition::{READY, RECONCILING, STALLED},
    names::STORAGE_FINALIZER,
};
use jiff::Timestamp;

use super::{
    Event, ProviderDecision, ProviderWrite, RepoReason,
    condition_types::CSI_DRIVER_INSTALLED,
    conditions::{Conditions, turned_bad},
    delete::{with_finalizer, without_finalizer},
};

/// What a decision about a provider rests on.
#[derive(Clone, Debug, Default)]
pub struct ObservedProvider {
    /// The provider.
    pub provider: StorageProvider,
    /// Whether the CSI driver that it names is installed; absence was confirmed by a live read.
    pub driver_installed: bool,
}

/// Decides about a provider. Deleting one is not held up by repositories that name it.
pub fn decide(observed: &ObservedProvider, now: Timestamp) -> ProviderDecision {
    let metadata = &observed.provider.metadata;
    let name = metadata.name.as_deref().unwrap_or_default();
    if metadata.deletion_timestamp.is_some() {
        let Some(patch) = without_finalizer(metadata, STORAGE_FINALIZER) else {
            return ProviderDecision {
                write: None,
                events: Vec::new(),
            };
        };
        let event = Event::normal(
            RepoReason::DeletedCR.as_str(),
            format!("Deleted storageprovider: {name}"),
        );
        return ProviderDecision {
            write: Some(ProviderWrite::Metadata(patch)),
            events: vec![event],
        };
    }
    if let Some(patch) = with_finalizer(metadata, STORAGE_FINALIZER) {
        return ProviderDecision {
            write: Some(ProviderWrite::Metadata(patch)),
            events: Vec::new(),
        };
    }
    let before = observed.provider.status.clone().unwrap_or_default();
    let status = status(observed, &before, now);
    if status == before {
        return ProviderDecision {
            write: None,
            events: Vec::new(),
        };
    }
    let bad = turned_bad(&before.conditions, &status.conditions, CSI_DRIVER_INSTALLED);
    let events = bad
        .map(|condition| Event::warning(&condition.reason, &condition.message))
        .into_iter()
        .collect();
    ProviderDecision {
        write: Some(ProviderWrite::Status(Box::new(status))),
        events,
    }
}

fn status(observed: &ObservedProvider, before: &StorageProviderStatus, now: Timestamp) -> StorageProviderStatus {
    let provider = &observed.provider;
    let driver = provider.spec.csi_driver_name.as_deref().filter(|name| !name.is_empty());
    let mut conditions = Conditions::new(before.conditions.clone(), provider.metadata.generation, now);
    let ready = driver.is_none() || observed.driver_installed;
    let (reason, message) = match driver {
        None => (RepoReason::CSIDriverObjectFound, "no CSI driver is needed".to_owned()),
        Some(driver) if ready => (
            RepoReason::CSIDriverObjectFound,
            format!("CSI driver {driver} is installed"),
        ),
        Some(driver) => (
            RepoReason::CheckCSIDriverFailed,
            format!("csidrivers.storage.k8s.io \"{driver}\" not found: install the driver"),
        ),
    };
    let (phase, installed) = if ready {
        (StorageProviderPhase::Ready, "True")
    } else {
        (StorageProviderPhase::NotReady, "Unknown")
    };
    let yes_no = |yes| if yes { "True" } else { "False" };
    conditions.put(CSI_DRIVER_INSTALLED, installed, reason.as_str(), &message);
    conditions.put(READY, yes_no(ready), reason.as_str(), &message);
    conditions.put(RECONCILING, "False", reason.as_str(), "");
    conditions.put(STALLED, yes_no(!ready), reason.as_str(), &message);
    StorageProviderStatus {
        phase: Some(phase),
        conditions: conditions.into_list(),
    }
}
