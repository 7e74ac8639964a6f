//! Whether a StorageProvider can be used: its CSI driver has to be installed.

use holdfast_api::{
    ObjectMetaExt as _, StorageProvider, StorageProviderPhase, StorageProviderStatus,
    condition::{ConditionType, Conditions, Reason, Status},
    names::STORAGE_FINALIZER,
};
use jiff::Timestamp;

use super::{
    Event, ProviderDecision, ProviderWrite,
    delete::{with_finalizer, without_finalizer},
    turned_bad,
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
    if observed.provider.is_terminating() {
        let Some(patch) = without_finalizer(metadata, STORAGE_FINALIZER) else {
            return ProviderDecision {
                write: None,
                events: Vec::new(),
            };
        };
        let event = Event::normal(Reason::DeletedCR, format!("Deleted storageprovider: {name}"));
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
    let bad = turned_bad(
        &before.conditions,
        &status.conditions,
        ConditionType::CSIDriverInstalled,
    );
    ProviderDecision {
        write: Some(ProviderWrite::Status(Box::new(status))),
        events: bad.into_iter().collect(),
    }
}

fn status(observed: &ObservedProvider, before: &StorageProviderStatus, now: Timestamp) -> StorageProviderStatus {
    let provider = &observed.provider;
    let driver = provider.spec.csi_driver_name.as_deref().filter(|name| !name.is_empty());
    let mut conditions = Conditions::of(before.conditions.clone(), provider.metadata.generation, now);
    let ready = driver.is_none() || observed.driver_installed;
    let (reason, message) = match driver {
        None => (Reason::CSIDriverObjectFound, "no CSI driver is needed".to_owned()),
        Some(driver) if ready => (
            Reason::CSIDriverObjectFound,
            format!("CSI driver {driver} is installed"),
        ),
        Some(driver) => (
            Reason::CheckCSIDriverFailed,
            format!("csidrivers.storage.k8s.io \"{driver}\" not found: install the driver"),
        ),
    };
    let phase = if ready {
        conditions
            .set(ConditionType::CSIDriverInstalled, true, reason, &message)
            .ready(reason, &message);
        StorageProviderPhase::Ready
    } else {
        conditions
            .set(ConditionType::CSIDriverInstalled, Status::Unknown, reason, &message)
            .stalled(reason, &message);
        StorageProviderPhase::NotReady
    };
    StorageProviderStatus {
        phase: Some(phase),
        conditions: conditions.into_list(),
    }
}
