//! Digests of files and of whole backups. A backup's checksum can be made with `sha256sum` and `sort` alone.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{self, Read};

/// A sha256.
pub(crate) type Sum = [u8; 32];

/// Lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The inverse of [`to_hex`]; only what that writes is read.
pub(crate) fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    hex.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(*pair.first()?)? * 16 + digit(*pair.get(1)?)?))
        .collect()
}

/// One line as `sha256sum` prints it, with the newline: a path with a backslash, newline or carriage return is
/// escaped and the line begins with a backslash.
pub fn sha256_line(sha256: &[u8; 32], path: &[u8]) -> Vec<u8> {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r');
    let mut line = Vec::with_capacity(path.len() + 68);
    if path.iter().any(special) {
        line.push(b'\\');
    }
    line.extend_from_slice(to_hex(sha256).as_bytes());
    line.extend_from_slice(b"  ");
    for byte in path {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => line.push(*other),
        }
    }
    line.push(b'\n');
    line
}

/// The checksum of a backup: sha256 over its files' [`sha256_line`]s, sorted by their bytes, in hex. The same as
/// `find . -type f ! -path ./holdfast.json -printf '%P\0' | xargs -0 sha256sum | LC_ALL=C sort | sha256sum`.
pub fn checksum<'a>(files: impl IntoIterator<Item = (&'a [u8; 32], &'a [u8])>) -> String {
    let mut lines: Vec<Vec<u8>> = files
        .into_iter()
        .map(|(sha256, path)| sha256_line(sha256, path))
        .collect();
    lines.sort_unstable();
    let mut hasher = Sha256::new();
    for line in &lines {
        hasher.update(line);
    }
    to_hex(&hasher.finalize())
}

/// Counts and hashes what is read through it.
#[derive(Debug)]
pub struct DigestReader<R> {
    inner: R,
    hasher: Sha256,
    bytes: u64,
}

impl<R: Read> DigestReader<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            bytes: 0,
        }
    }

    /// How much was read and its sha256.
    pub fn finish(self) -> (u64, [u8; 32]) {
        (self.bytes, self.hasher.finalize().into())
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        for bad in ["0", "0g", "AB", "é"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn odd_names_are_escaped_as_sha256sum_does() {
        let line = sha256_line(&Sha256::digest(b"").into(), b"a\nb\\c");
        let text = String::from_utf8(line).unwrap();
        assert_eq!(
            text,
            "\\e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\\nb\\\\c\n"
        );
    }
}
