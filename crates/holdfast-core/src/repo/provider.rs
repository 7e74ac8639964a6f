//! Whether a StorageProvider can be used: its CSI driver has to be installed.

use holdfast_api::{
    ObjectMetaExt as _, StorageProvider, StorageProviderPhase, StorageProviderStatus,
    condition::{ConditionType, Conditions, Reason, Status},
    names::STORAGE_FINALIZER,
};
use jiff::Timestamp;

use super::ProviderDecision;
use crate::decision::{Event, Write, with_finalizer, without_finalizer};

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
            return ProviderDecision::wait();
        };
        let event = Event::normal(Reason::DeletedCR, format!("Deleted storageprovider: {name}"));
        return ProviderDecision::write(Write::Metadata(patch)).with(event);
    }
    if let Some(patch) = with_finalizer(metadata, STORAGE_FINALIZER) {
        return ProviderDecision::write(Write::Metadata(patch));
    }
    let before = observed.provider.status.clone().unwrap_or_default();
    let (phase, reason, text) = judge(observed);
    let status = render(observed, &before, (phase, reason, &text), now);
    if status == before {
        return ProviderDecision::wait();
    }
    let turned_bad = phase == StorageProviderPhase::NotReady && before.phase != Some(phase);
    let decision = ProviderDecision::write(Write::Status(Box::new(status)));
    if turned_bad {
        decision.with(Event::warning(reason, text))
    } else {
        decision
    }
}

fn judge(observed: &ObservedProvider) -> (StorageProviderPhase, Reason, String) {
    let driver = observed.provider.spec.csi_driver_name.as_deref();
    match driver.filter(|name| !name.is_empty()) {
        None => (
            StorageProviderPhase::Ready,
            Reason::CSIDriverObjectFound,
            "no CSI driver is needed".to_owned(),
        ),
        Some(driver) if observed.driver_installed => (
            StorageProviderPhase::Ready,
            Reason::CSIDriverObjectFound,
            format!("CSI driver {driver} is installed"),
        ),
        Some(driver) => (
            StorageProviderPhase::NotReady,
            Reason::CheckCSIDriverFailed,
            format!("csidrivers.storage.k8s.io \"{driver}\" not found: install the driver"),
        ),
    }
}

fn render(
    observed: &ObservedProvider,
    before: &StorageProviderStatus,
    (phase, reason, text): (StorageProviderPhase, Reason, &str),
    now: Timestamp,
) -> StorageProviderStatus {
    let generation = observed.provider.metadata.generation;
    let mut conditions = Conditions::of(before.conditions.clone(), generation, now);
    let check = ConditionType::CSIDriverInstalled;
    match phase {
        StorageProviderPhase::Ready => conditions.set(check, true, reason, text).ready(reason, text),
        StorageProviderPhase::NotReady => conditions
            .set(check, Status::Unknown, reason, text)
            .stalled(reason, text),
    };
    StorageProviderStatus {
        phase: Some(phase),
        conditions: conditions.into_list(),
    }
}
