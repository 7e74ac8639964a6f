//! What becomes of a Job whose Backup has ended.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;

use super::observed::{Decision, Read, Write};
use crate::decision::{Kind, Target};
use crate::pod::{JobState, finished_at, job_state};

/// How long a finished Job stays for a look at its pods.
const KEPT: SignedDuration = SignedDuration::from_secs(60);

/// What is known about the Backup that a Job belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is in progress.
    Active,
    /// It is not among the active ones that are watched: it has left them, which is not the same as gone.
    Unknown,
    /// It has ended, or is gone, by the API server's own word.
    Over,
}

/// Deletes a Job of ours a minute after it completed, once its Backup is known to be over. A failed Job stays for
/// its logs until Kubernetes removes it; one that still runs for a Backup that is over is ended.
pub fn cleanup(job: &Job, owner: Owner, now: Timestamp) -> Decision {
    if owner == Owner::Active || job.metadata.deletion_timestamp.is_some() {
        return Decision::wait();
    }
    let state = job_state(job);
    if let JobState::Failed { .. } = state {
        return Decision::wait();
    }
    if state == JobState::Complete {
        let left = KEPT - now.duration_since(finished_at(job).unwrap_or(now));
        if left > SignedDuration::ZERO {
            return Decision::after(left);
        }
    }
    if owner == Owner::Unknown {
        return Decision::read(Read::Backup);
    }
    Decision::write(Write::Delete(Target::any_state(Kind::Job, job))).then_await_change()
}
