//! The services of Holdfast, by name.

/// One of the services.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Service {
    /// Policies, schedules and admission.
    Scheduler,
    /// Backups that run.
    Executor,
    /// Repositories and their providers.
    RepoManager,
    /// Retention and removal.
    Gc,
    /// Restores.
    Restore,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 5] = [
        Self::Scheduler,
        Self::Executor,
        Self::RepoManager,
        Self::Gc,
        Self::Restore,
    ];

    /// Its name: of its user and consumer on the bus, of its Kubernetes objects behind `holdfast-`, and, with `_` for
    /// `-`, in its metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Executor => "executor",
            Self::RepoManager => "repo-manager",
            Self::Gc => "gc",
            Self::Restore => "restore",
        }
    }
}
