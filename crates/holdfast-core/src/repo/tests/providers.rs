//! Providers and their CSI drivers.

use super::{super::provider::decide, *};

/// Decides and writes until there is nothing to write; the reasons of the events.
fn settle(observed: &mut ObservedProvider) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    for _ in 0..10 {
        let decision = decide(observed, now());
        reasons.extend(told(decision.notices).0.into_iter().map(|event| event.reason.as_str()));
        match decision.write {
            None => return reasons,
            Some(decision::Write::Status(status)) => observed.provider.status = Some(*status),
            Some(decision::Write::Metadata(patch)) => {
                let list = patch["finalizers"].as_array().unwrap();
                let list = list.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
                observed.provider.metadata.finalizers = Some(list);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("never settles");
}

fn new(driver: Option<&str>, installed: bool) -> ObservedProvider {
    let spec = StorageProviderSpec {
        csi_driver_name: driver.map(str::to_owned),
        ..StorageProviderSpec::default()
    };
    ObservedProvider {
        provider: StorageProvider::new("sp", spec),
        driver_installed: installed,
    }
}

fn state(observed: &ObservedProvider) -> (Option<StorageProviderPhase>, String) {
    let status = observed.provider.status.clone().unwrap();
    let condition = condition::find(&status.conditions, ConditionType::CSIDriverInstalled)
        .cloned()
        .unwrap();
    (status.phase, format!("{} {}", condition.status, condition.reason))
}

#[test]
fn a_provider_is_ready_when_its_driver_is_there_or_none_is_needed() {
    let ready = (
        Some(StorageProviderPhase::Ready),
        "True CSIDriverObjectFound".to_owned(),
    );
    let not_ready = (
        Some(StorageProviderPhase::NotReady),
        "Unknown CheckCSIDriverFailed".to_owned(),
    );
    let table = [
        (None, false, &ready),
        (Some(""), false, &ready),
        (Some("test.csi"), true, &ready),
        (Some("test.csi"), false, &not_ready),
    ];
    for (driver, installed, expected) in table {
        let mut observed = new(driver, installed);
        settle(&mut observed);
        assert_eq!(state(&observed), *expected, "{driver:?} {installed}");
        assert_eq!(
            observed.provider.metadata.finalizers,
            Some(vec![api_names::STORAGE_FINALIZER.to_owned()])
        );
    }
}

#[test]
fn a_provider_follows_its_driver() {
    let mut observed = new(Some("test.csi"), false);
    assert_eq!(settle(&mut observed), ["CheckCSIDriverFailed"]);
    observed.driver_installed = true;
    assert!(settle(&mut observed).is_empty());
    assert_eq!(state(&observed).0, Some(StorageProviderPhase::Ready));
    observed.driver_installed = false;
    assert_eq!(settle(&mut observed), ["CheckCSIDriverFailed"]);
    assert_eq!(state(&observed).0, Some(StorageProviderPhase::NotReady));
    let status = observed.provider.status.clone().unwrap();
    let message = &condition::find(&status.conditions, ConditionType::CSIDriverInstalled)
        .unwrap()
        .message;
    assert!(message.contains("\"test.csi\" not found"), "{message}");
}

#[test]
fn deleting_a_provider_only_takes_its_finalizer() {
    let mut observed = new(None, false);
    settle(&mut observed);
    observed.provider.metadata.deletion_timestamp = Some(Time(now()));
    assert_eq!(settle(&mut observed), ["DeletedCR"]);
    assert_eq!(observed.provider.metadata.finalizers, Some(Vec::new()));
    assert!(settle(&mut observed).is_empty());
}
