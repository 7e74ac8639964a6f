//! What the repo-manager measures.

use holdfast_api::{BackupRepoPhase, StorageProvider, StorageProviderPhase, metric};
use holdfast_runtime::{
    Service,
    metrics::{self, Error, GaugeVec, IntCounterVec},
};

const REPO_PHASES: [BackupRepoPhase; 4] = [
    BackupRepoPhase::PreChecking,
    BackupRepoPhase::Failed,
    BackupRepoPhase::Ready,
    BackupRepoPhase::Deleting,
];
const PROVIDER_PHASES: [StorageProviderPhase; 2] = [StorageProviderPhase::NotReady, StorageProviderPhase::Ready];

/// The repo-manager's own metrics. Gauges are set by the replica that leads.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    repo_phase: GaugeVec,
    provider_phase: GaugeVec,
    warnings: IntCounterVec,
    claims: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(service: &Service) -> Result<Self, Error> {
        Ok(Self {
            repo_phase: service.meter().gauge(&metric::REPO_PHASE)?,
            provider_phase: service.meter().gauge(&metric::REPO_PROVIDERS)?,
            warnings: service.meter().counter(&metric::REPO_PROBLEMS)?,
            claims: service.meter().counter(&metric::REPO_CLAIMS_CREATED)?,
        })
    }

    pub(crate) fn repo(&self, name: &str, phase: Option<BackupRepoPhase>) {
        for candidate in REPO_PHASES {
            let value = f64::from(u8::from(Some(candidate) == phase));
            self.repo_phase
                .with_label_values(&[name, candidate.as_str()])
                .set(value);
        }
    }

    pub(crate) fn providers<'a>(&self, all: impl Iterator<Item = &'a StorageProvider>) {
        let mut counts = [0_u32; PROVIDER_PHASES.len()];
        for provider in all {
            let phase = provider
                .status
                .as_ref()
                .and_then(|status| status.phase)
                .unwrap_or_default();
            for (count, candidate) in counts.iter_mut().zip(PROVIDER_PHASES) {
                *count += u32::from(candidate == phase);
            }
        }
        for (count, phase) in counts.into_iter().zip(PROVIDER_PHASES) {
            self.provider_phase
                .with_label_values(&[phase.as_str()])
                .set(count.into());
        }
    }

    pub(crate) fn problem(&self, repo: &str, reason: &str) {
        self.warnings.with_label_values(&[repo, reason]).inc();
    }

    pub(crate) fn claim_created(&self, repo: &str) {
        self.claims.with_label_values(&[repo]).inc();
    }

    /// A repository that is gone is no longer measured.
    pub(crate) fn forget(&self, repo: &str) {
        let labels = [("repo", repo)];
        metrics::forget(&self.repo_phase, &labels);
        metrics::forget(&self.warnings, &labels);
        metrics::forget(&self.claims, &labels);
    }

    /// Who no longer leads no longer measures.
    pub(crate) fn reset(&self) {
        self.repo_phase.reset();
        self.provider_phase.reset();
    }
}
