//! A pod's attempt at a backup: from the first look for a tombstone to the claim, and from the tool's end to the seal.
//! Each step does one thing to the repository, so that a test can let anything happen between two of them.

use crate::claim::{Claim, Claimant};
use crate::path::{BackupPath, valid_uid};
use crate::repo::{Data, Repo, Waiting, refuse_deleted};
use crate::seal::Seal;
use crate::{Error, Result};
use jiff::Timestamp;

/// The one run whose failed attempts are wiped; later runs add to what earlier ones sealed.
const FIRST_RUN: i32 = 1;

/// The answer to a claim.
#[derive(Debug)]
pub enum Claimed<W> {
    /// This run is sealed already: report it again, run nothing.
    Sealed(Box<Seal>),
    /// The place is ours and made.
    Work(Box<W>),
}

/// An attempt to claim a backup's place. Ended by its answer or its first error.
#[derive(Debug)]
pub struct Attempt<R: Repo> {
    path: BackupPath,
    claimant: Claimant,
    claim: Claim,
    /// Whether there was neither claim nor data in the place.
    fresh: bool,
    at: At<R::Place>,
}

#[derive(Debug)]
enum At<P> {
    Start,
    Enter,
    Claim(P),
    LookAgain(P),
    Prepare(P),
    Confirm(Held<P>),
    Over,
}

impl<R: Repo> Attempt<R> {
    /// An attempt that has done nothing yet. `now` will be the claim's time.
    ///
    /// # Errors
    /// [`Error::Occupied`] if a uid is none.
    pub fn new(path: &BackupPath, claimant: &Claimant, now: Timestamp) -> Result<Self> {
        if !valid_uid(&claimant.uid) || !valid_uid(&claimant.pod_uid) {
            let text = "the uid of the backup or of its pod is not a uid".to_owned();
            return Err(Error::Occupied(text));
        }
        Ok(Self {
            path: path.clone(),
            claimant: claimant.clone(),
            claim: Claim::new(claimant, now),
            fresh: false,
            at: At::Start,
        })
    }

    /// Does the next step. None as long as there is another one.
    ///
    /// # Errors
    /// [`Error::AlreadyDeleted`], [`Error::Occupied`], [`Error::Newer`], [`Error::SealInvalid`], [`Error::Busy`],
    /// [`Error::NotPlain`], [`Error::Stopped`], or errors of the storage.
    pub fn step(&mut self, repo: &R, waiting: &Waiting<'_>) -> Result<Option<Claimed<Held<R::Place>>>> {
        let uid = &self.claimant.uid;
        self.at = match std::mem::replace(&mut self.at, At::Over) {
            At::Start => {
                refuse_deleted(repo, uid)?;
                At::Enter
            }
            At::Enter => {
                refuse_nested(repo, &self.path)?;
                let place = repo.make_place(&self.path, waiting)?;
                match admit(repo, &self.path, &place, &self.claimant)? {
                    Admitted::Sealed(seal) => return Ok(Some(Claimed::Sealed(seal))),
                    Admitted::Fresh => self.fresh = true,
                    Admitted::Again => {}
                }
                At::Claim(place)
            }
            At::Claim(place) => {
                repo.put_claim(&place, &self.claim)?;
                At::LookAgain(place)
            }
            // A purge writes its tombstone before it reads claims, a pod its seal: one of us two sees the other.
            At::LookAgain(place) => {
                if repo.has_tombstone(uid)? {
                    self.withdraw(repo, place)?;
                    return Err(Error::AlreadyDeleted(self.claimant.uid.clone()));
                }
                if let Some(seal) = own_seal(repo, &place, &self.claimant)? {
                    return Ok(Some(Claimed::Sealed(seal)));
                }
                At::Prepare(place)
            }
            At::Prepare(place) => {
                repo.make_data(&place, self.claimant.run == FIRST_RUN)?;
                let claim = self.claim.clone();
                At::Confirm(Held { place, claim })
            }
            // Another attempt may have taken over meanwhile: two tools must not work in one directory.
            At::Confirm(held) => {
                held.still_claimed(repo)?;
                return Ok(Some(Claimed::Work(Box::new(held))));
            }
            At::Over => return Err(over()),
        };
        Ok(None)
    }

    /// Takes back a claim that the purge may not have seen, or it would stay for ever. Where something was before,
    /// the purge has seen that.
    fn withdraw(&self, repo: &R, place: R::Place) -> Result<()> {
        let ours = repo.read_claim(&place)?.is_some_and(|claim| claim.is_of(&self.claim));
        if self.fresh && ours {
            repo.remove_place(place, &mut 0)?;
            repo.prune(&self.path)?;
        }
        Ok(())
    }

    /// Does all steps.
    ///
    /// # Errors
    /// As [`Attempt::step`].
    pub fn run(mut self, repo: &R, waiting: &Waiting<'_>) -> Result<Claimed<Held<R::Place>>> {
        loop {
            if let Some(claimed) = self.step(repo, waiting)? {
                return Ok(claimed);
            }
        }
    }
}

fn over() -> Error {
    Error::Occupied("this attempt is over".to_owned())
}

/// A backup may not lie inside another: the other would count its files, and wipe them.
fn refuse_nested<R: Repo>(repo: &R, path: &BackupPath) -> Result<()> {
    if let Some(other) = repo.enclosing(path)? {
        let text = format!("`{path}` would lie inside another backup, `{other}`; choose another path prefix");
        return Err(Error::Occupied(text));
    }
    Ok(())
}

/// Why a claimant may have a place.
enum Admitted {
    /// The run is sealed already: there is nothing to do.
    Sealed(Box<Seal>),
    /// There is neither claim nor data.
    Fresh,
    /// It is the backup's own.
    Again,
}

/// Whether the claimant may have the place.
fn admit<R: Repo>(repo: &R, path: &BackupPath, place: &R::Place, claimant: &Claimant) -> Result<Admitted> {
    let occupied = |why: String| Err(Error::Occupied(format!("`{path}` in the repository {why}")));
    let claim = repo.read_claim(place)?;
    if let Some(claim) = &claim {
        if claim.uid != claimant.uid {
            return occupied(format!("is claimed by backup {}", claim.uid));
        }
        if claim.run > claimant.run {
            return occupied(format!("is claimed by a later run ({})", claim.run));
        }
    }
    match repo.read_seal(place)? {
        Some(seal) if seal.uid != claimant.uid => {
            return occupied(format!("holds the sealed backup {}", seal.uid));
        }
        Some(seal) if seal.run > claimant.run => {
            return occupied(format!("holds the seal of a later run ({})", seal.run));
        }
        Some(seal) if seal.run == claimant.run => return Ok(Admitted::Sealed(Box::new(seal))),
        Some(_) => return Ok(Admitted::Again),
        None => {}
    }
    match repo.data(place)? {
        Data::Files | Data::Backups if claim.is_none() => occupied("holds files that no backup claims".to_owned()),
        Data::Backups => occupied("holds other backups; choose another path prefix".to_owned()),
        Data::None if claim.is_none() => Ok(Admitted::Fresh),
        Data::Files | Data::None => Ok(Admitted::Again),
    }
}

/// The seal of this run, if another attempt of it has put that in place meanwhile.
fn own_seal<R: Repo>(repo: &R, place: &R::Place, claimant: &Claimant) -> Result<Option<Box<Seal>>> {
    let ours = |seal: &Seal| seal.uid == claimant.uid && seal.run == claimant.run;
    Ok(repo.read_seal(place)?.filter(ours).map(Box::new))
}

/// A claimed place: the tool may work in it.
#[derive(Debug)]
pub struct Held<P> {
    place: P,
    claim: Claim,
}

impl<P> Held<P> {
    /// The place.
    pub fn place(&self) -> &P {
        &self.place
    }

    /// The claim that was written for it.
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Whether nobody purged the backup and the claim still names us.
    ///
    /// # Errors
    /// [`Error::AlreadyDeleted`] or [`Error::Occupied`] if not, [`Error::Busy`] if another attempt of the same backup has it.
    pub fn still_ours<R: Repo<Place = P>>(&self, repo: &R) -> Result<()> {
        refuse_deleted(repo, &self.claim.uid)?;
        self.still_claimed(repo)
    }

    fn still_claimed<R: Repo<Place = P>>(&self, repo: &R) -> Result<()> {
        match repo.read_claim(&self.place)? {
            Some(claim) if claim.is_of(&self.claim) => Ok(()),
            // Another attempt of the same backup took over: the next one finds what it sealed, or begins anew.
            Some(claim) if claim.uid == self.claim.uid => Err(Error::Busy(format!(
                "the claim now names pod {} of the same backup; nothing was sealed",
                claim.pod_uid
            ))),
            Some(claim) => Err(Error::Occupied(format!(
                "the claim now names pod {} of backup {}; nothing was sealed",
                claim.pod_uid, claim.uid
            ))),
            None => Err(Error::Occupied(
                "the claim was removed while the tool ran; nothing was sealed".to_owned(),
            )),
        }
    }

    /// Begins to seal: writes the seal, but not in its place.
    ///
    /// # Errors
    /// [`Error::Occupied`] if the place of the data is gone, or errors of the storage.
    pub fn stage<R: Repo<Place = P>>(&self, repo: &R, seal: &Seal) -> Result<Sealing<R::Staged>> {
        let gone = || Error::Occupied("the backup's directory is gone; nothing was sealed".to_owned());
        let staged = repo.stage(&self.place, seal)?.ok_or_else(gone)?;
        Ok(Sealing(Before::Tombstone(staged)))
    }

    /// Seals the data: writes the seal, looks at tombstone and claim once more, puts it in place.
    ///
    /// # Errors
    /// As [`Held::stage`] and [`Sealing::step`].
    pub fn seal<R: Repo<Place = P>>(&self, repo: &R, seal: &Seal) -> Result<()> {
        let mut sealing = self.stage(repo, seal)?;
        while !sealing.step(repo, self)? {}
        Ok(())
    }
}

impl<P> Held<P> {
    /// Gives up: what the tool wrote is to go, the claim and what lies beside the data stay. None where it is not this
    /// run's alone: later runs add to what earlier ones sealed.
    ///
    /// # Errors
    /// As [`Repo::look_again`].
    pub fn give_up<R: Repo<Place = P>>(self, repo: &R) -> Result<Option<Discard<P>>> {
        if self.claim.run != FIRST_RUN {
            return Ok(None);
        }
        let place = repo.look_again(self.place)?;
        Ok(Some(Discard {
            held: Self { place, ..self },
            may: false,
        }))
    }
}

/// Data that is to go because its run has failed. It was looked at before the claim is: whoever claims after that works
/// on other data.
#[derive(Debug)]
pub struct Discard<P> {
    held: Held<P>,
    may: bool,
}

impl<P> Discard<P> {
    /// Does the next step; none as long as there is another one, then whether the data is gone. It stays if another
    /// attempt has the claim, or the run is sealed after all. What went is added to `freed`, in bytes, also if it fails.
    ///
    /// # Errors
    /// As [`Repo::clear_data`], or errors of the storage.
    pub fn step<R: Repo<Place = P>>(&mut self, repo: &R, freed: &mut u64) -> Result<Option<bool>> {
        let held = &self.held;
        if self.may {
            repo.clear_data(&held.place, freed)?;
            return Ok(Some(true));
        }
        self.may = match (held.still_claimed(repo), repo.read_seal(&held.place)) {
            // A seal that is damaged is the tool's own file: ours are put in place whole.
            (Ok(()), Ok(None) | Err(Error::SealInvalid(_))) => true,
            (Err(Error::Busy(_) | Error::Occupied(_)), _) | (_, Ok(Some(_))) => false,
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        Ok((!self.may).then_some(false))
    }
}

/// A seal on its way to its place. Ended by its first error.
#[derive(Debug)]
pub struct Sealing<S>(Before<S>);

/// What comes next.
#[derive(Debug)]
enum Before<S> {
    Tombstone(S),
    Claim(S),
    Seal(S),
    Answer,
    Over,
}

impl<S> Sealing<S> {
    /// Does the next step; true when the backup is sealed.
    ///
    /// # Errors
    /// As [`Held::still_ours`], if the data was removed or made anew, or errors of the storage.
    pub fn step<R: Repo<Staged = S>>(&mut self, repo: &R, held: &Held<R::Place>) -> Result<bool> {
        self.0 = match std::mem::replace(&mut self.0, Before::Over) {
            Before::Tombstone(staged) => {
                refuse_deleted(repo, &held.claim.uid)?;
                Before::Claim(staged)
            }
            Before::Claim(staged) => {
                held.still_claimed(repo)?;
                Before::Seal(staged)
            }
            Before::Seal(staged) => {
                repo.put_seal(&held.place, staged)?;
                Before::Answer
            }
            // Who claimed meanwhile has seen the seal, or will wipe it: then it is not ours to tell.
            Before::Answer => {
                held.still_claimed(repo)?;
                return Ok(true);
            }
            Before::Over => return Err(over()),
        };
        Ok(false)
    }
}
