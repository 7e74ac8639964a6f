//! Credentials that the tool has in its environment must not reach logs or messages, even if the tool prints them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

const TELLING: [&str; 6] = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "CREDENTIAL", "PRIVATE_KEY"];
/// Shorter values would black out ordinary words.
const SHORTEST: usize = 6;
const MASK: &[u8] = b"******";

/// The values to hide.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    /// The values of variables whose names tell that they are credentials, the longest first.
    pub(crate) fn among(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut values: Vec<Vec<u8>> = variables
            .into_iter()
            .filter(|(name, value)| value.len() >= SHORTEST && tells(name))
            .map(|(_, value)| value.as_bytes().to_vec())
            .collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values)
    }

    /// The text with every secret masked.
    pub(crate) fn hide(&self, text: &[u8]) -> Vec<u8> {
        self.0.iter().fold(text.to_vec(), |text, secret| replace(&text, secret))
    }
}

fn tells(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    TELLING.iter().any(|word| name.contains(word))
}

fn replace(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(secret.len()).position(|window| window == secret) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        out.extend_from_slice(MASK);
        rest = from.get(secret.len()..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_telling_names_are_masked() {
        let variables = [
            ("DB_PASSWORD", "hunter22"),
            ("DB_HOST", "database"),
            ("API_TOKEN", "hunter22-long"),
            ("MY_SECRET", "abc"),
        ];
        let secrets = Secrets::among(variables.map(|(name, value)| (name.into(), value.into())));
        let hidden = secrets.hide(b"host=database pw=hunter22 hunter22-long abc hunter22");
        assert_eq!(hidden, b"host=database pw=****** ****** abc ******");
    }
}
