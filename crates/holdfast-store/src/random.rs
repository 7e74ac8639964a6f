//! Random numbers of the system, for names and identities that nobody else has.

use crate::{Error, Result, to_hex};
use std::fs::File;
use std::io::Read as _;

/// So many random bytes, in hex.
pub(crate) fn hex(bytes: usize) -> Result<String> {
    let mut random = vec![0; bytes];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut random))
        .map_err(|source| Error::io("read random numbers", source))?;
    Ok(to_hex(&random))
}
