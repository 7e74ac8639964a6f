//! Whether the kernel ended a process of the tool for want of memory: kubelet tells of it only where it ended us too.

use std::path::{Path, PathBuf};

/// Where a container sees its own cgroup.
const CGROUP: &str = "/sys/fs/cgroup";
/// The file with the count of processes that were ended, and that with the limit: of version 2, then of version 1.
const FILES: [[&str; 2]; 2] = [
    ["memory.events", "memory.max"],
    ["memory/memory.oom_control", "memory/memory.limit_in_bytes"],
];
/// Version 1 has no word for "no limit" but a number that no machine has.
const UNLIMITED: u64 = 1 << 60;

/// How often it happened so far.
#[derive(Debug)]
pub(crate) struct Memory {
    root: PathBuf,
    ended: u64,
}

impl Memory {
    /// As it is now.
    pub(crate) fn now() -> Self {
        Self::of(Path::new(CGROUP))
    }

    fn of(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            ended: ended(root),
        }
    }

    /// The limit in words, as ` of 48 MiB`, if a process was ended since; empty where it cannot be told.
    pub(crate) fn ran_out(&self) -> Option<String> {
        (ended(&self.root) > self.ended).then(|| limit(&self.root).unwrap_or_default())
    }
}

fn ended(root: &Path) -> u64 {
    let count = |file: &str| {
        let text = std::fs::read_to_string(root.join(file)).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    };
    FILES.iter().find_map(|[events, _]| count(events)).unwrap_or_default()
}

fn limit(root: &Path) -> Option<String> {
    let read = |file: &str| {
        std::fs::read_to_string(root.join(file))
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let bytes = FILES.iter().find_map(|[_, limit]| read(limit))?;
    let whole = |bytes: u64| {
        if bytes.is_multiple_of(1 << 20) {
            format!(" of {} Mi", bytes >> 20)
        } else {
            format!(" of {bytes} bytes")
        }
    };
    (bytes < UNLIMITED).then(|| whole(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn play(files: [&str; 2], before: &str, after: &str, limit: &str) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("memory")).unwrap();
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        write(files[0], before);
        write(files[1], limit);
        let memory = Memory::of(dir.path());
        write(files[0], after);
        memory.ran_out()
    }

    #[test]
    fn an_end_for_want_of_memory_is_seen_in_both_versions_with_its_limit() {
        let events = "low 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
        let [second, first] = FILES;
        assert_eq!(
            play(second, events, events, "50331648\n"),
            None,
            "that was before the tool"
        );
        let again = events.replace("oom_kill 1", "oom_kill 2");
        assert_eq!(play(second, events, &again, "50331648\n").as_deref(), Some(" of 48 Mi"));
        assert_eq!(
            play(second, events, &again, "1000\n").as_deref(),
            Some(" of 1000 bytes")
        );
        assert_eq!(play(second, events, &again, "max\n").as_deref(), Some(""));
        let control = |count: u32| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {count}\n");
        assert_eq!(
            play(first, &control(0), &control(1), "50331648\n").as_deref(),
            Some(" of 48 Mi")
        );
        assert_eq!(
            play(first, &control(0), &control(1), "9223372036854771712\n").as_deref(),
            Some("")
        );
    }
}
