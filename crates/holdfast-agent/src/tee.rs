//! The tool's output: to the pod's log and to a bounded file in the repository, line by line, secrets masked.

use crate::log::say;
use crate::mask::{Mask, Stream};
use holdfast_store::Folder;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The log and the one before it are at most this long each: the end of the output is kept.
const LOG_MAX: u64 = 8 << 20;
const CHUNK: usize = 64 * 1024;
/// How much of the end goes into a failure's message.
const TAIL: usize = 240;

/// A running tee.
pub(crate) struct Tee(Receiver<Vec<u8>>);

/// Where the tool's log is kept.
pub(crate) struct LogFile {
    folder: Folder,
    name: &'static str,
    file: Option<File>,
    written: u64,
}

impl LogFile {
    /// A new log in this directory. That it cannot be kept is said, and nothing more.
    pub(crate) fn new(folder: Folder, name: &'static str) -> Self {
        let mut log = Self {
            folder,
            name,
            file: None,
            written: 0,
        };
        log.open();
        log
    }

    fn open(&mut self) {
        self.written = 0;
        self.file = match self.folder.create_file(self.name) {
            Ok(file) => Some(file),
            Err(error) => {
                say(&format!("the tool's log is not kept: {error}"));
                None
            }
        };
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.written + bytes.len() as u64 > LOG_MAX {
            let older = format!("{}.1", self.name);
            if self.folder.rename(self.name, &older).is_ok() {
                self.open();
            }
        }
        let Some(file) = self.file.as_mut() else { return };
        if let Err(error) = file.write_all(bytes) {
            self.file = None;
            say(&format!("the tool's log ends here: {error}"));
        } else {
            self.written += bytes.len() as u64;
        }
    }
}

impl Tee {
    /// Reads `from` to its end in a thread of its own.
    pub(crate) fn start(
        from: impl Read + Send + 'static,
        log: Option<LogFile>,
        mask: &'static Mask,
    ) -> io::Result<Self> {
        let (done, wait) = channel();
        std::thread::Builder::new().name("tee".to_owned()).spawn(move || {
            // Nobody listens any more if the agent has given up waiting.
            let _ = done.send(copy(from, log, mask));
        })?;
        Ok(Self(wait))
    }

    /// Waits for the end of the output; a process that we cannot see may hold it open, so not for ever.
    pub(crate) fn tail(self, wait: Duration) -> String {
        let tail = self.0.recv_timeout(wait).unwrap_or_default();
        String::from_utf8_lossy(&tail).trim().to_owned()
    }
}

fn copy(mut from: impl Read, mut log: Option<LogFile>, mask: &Mask) -> Vec<u8> {
    let mut masked = Stream::new(mask);
    let mut pending = Vec::new();
    let mut tail = Vec::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        pending.extend_from_slice(buffer.get(..read).unwrap_or_default());
        // Whole lines, so that the agent's own do not come between; what has no line end is passed on when it gets long.
        let end = pending
            .iter()
            .rposition(|byte| matches!(byte, b'\n' | b'\r'))
            .map_or(0, |at| at + 1);
        let end = if read == 0 || pending.len() - end > CHUNK {
            pending.len()
        } else {
            end
        };
        let lines: Vec<u8> = pending.drain(..end).collect();
        emit(&masked.pass(&lines, read == 0), log.as_mut(), &mut tail);
        if read == 0 {
            return tail;
        }
    }
}

fn emit(bytes: &[u8], log: Option<&mut LogFile>, tail: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
    if let Some(log) = log {
        log.write(bytes);
    }
    tail.extend_from_slice(bytes);
    let surplus = tail.len().saturating_sub(TAIL);
    tail.drain(..surplus);
}
