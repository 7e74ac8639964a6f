//! Decisions about a Backup, from what is observed to what is written.

mod ending;
mod golden;
mod late;
mod mark;
mod sharing;
mod starting;
mod stored;
mod storing;
mod trouble;
mod walk;
mod wording;
mod world;
