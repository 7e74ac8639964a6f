//! Finds secrets in text, in the forms in which programs print them, and masks them in a stream.

const MASK: &[u8] = b"******";
/// Shorter values are masked between word borders only: they would black out parts of ordinary words.
const SHORTEST: usize = 6;
/// How much is kept of what is passed on already, to see where words begin: `%2F` is the longest border.
const CONTEXT: usize = 3;
/// Base64 may be broken into lines after so many of its characters: fewer would hold back too much ordinary text.
const BEFORE_BREAK: usize = 2;

/// The values to hide.
#[derive(Debug, Default)]
pub(crate) struct Mask {
    patterns: Vec<Pattern>,
    /// Which of them begin with this byte.
    by_first: Vec<Vec<usize>>,
}

#[derive(Debug, PartialEq)]
struct Pattern {
    bytes: Vec<u8>,
    form: Form,
    /// Whether it counts between word borders only.
    word: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// As it is, or with characters escaped in URLs, JSON or shells.
    Plain,
    /// In base64, which may be broken into lines.
    Base64,
}

/// How far a pattern goes with a text.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fit {
    No,
    /// The text ends before the pattern.
    Cut,
    /// That many bytes of the text are it.
    Whole(usize),
}

impl Mask {
    /// A mask for these values; of one with several lines each line counts too.
    pub(crate) fn new(values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut mask = Self {
            patterns: Vec::new(),
            by_first: vec![Vec::new(); 256],
        };
        for value in values {
            let value = value.trim_ascii();
            mask.add_forms(value);
            let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            for line in lines.filter(|line| line.len() >= SHORTEST && *line != value) {
                mask.add_forms(line);
            }
        }
        mask
    }

    fn add_forms(&mut self, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        let word = value.len() < SHORTEST;
        self.add(value.to_vec(), Form::Plain, word);
        let with_line_end = [value, b"\n"].concat();
        self.add_base64(base64(value, 0, true), word);
        self.add_base64(base64(&with_line_end, 0, true), word);
        if word {
            return;
        }
        for shift in 0..3 {
            let inner = base64(value, shift, false);
            // A line may break after the first character.
            self.add_base64(inner.get(1..).unwrap_or_default().to_vec(), false);
            self.add_base64(inner, false);
        }
    }

    fn add_base64(&mut self, text: Vec<u8>, word: bool) {
        let for_urls: Vec<u8> = text
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect();
        self.add(for_urls, Form::Base64, word);
        self.add(text, Form::Base64, word);
    }

    fn add(&mut self, bytes: Vec<u8>, form: Form, word: bool) {
        let pattern = Pattern { bytes, form, word };
        let Some(list) = pattern
            .bytes
            .first()
            .and_then(|first| self.by_first.get_mut(usize::from(*first)))
        else {
            return;
        };
        if list.iter().all(|known| self.patterns.get(*known) != Some(&pattern)) {
            list.push(self.patterns.len());
            self.patterns.push(pattern);
        }
    }

    /// How many bytes of `text` from `at` on are to be hidden; none if that depends on what follows the text.
    fn hidden(&self, text: &[u8], at: usize, last: bool) -> Option<usize> {
        let rest = text.get(at..).unwrap_or_default();
        let first = *rest.first()?;
        let mut longest = 0;
        let mut consider = |pattern: &Pattern| {
            for fit in pattern.fits(rest) {
                let Fit::Whole(length) = fit else {
                    if fit == Fit::Cut && !last {
                        return None;
                    }
                    continue;
                };
                if pattern.word && !begins_word(text, at) {
                    continue;
                }
                match rest.get(length) {
                    None if pattern.word && !last => return None,
                    Some(next) if pattern.word && is_word(*next) && ends_in_word(rest, length) => {}
                    _ => longest = longest.max(length),
                }
            }
            Some(())
        };
        if matches!(first, b'%' | b'\\') {
            for pattern in &self.patterns {
                consider(pattern)?;
            }
        } else {
            let candidates = self.by_first.get(usize::from(first))?;
            for pattern in candidates.iter().filter_map(|known| self.patterns.get(*known)) {
                consider(pattern)?;
            }
        }
        Some(longest)
    }

    /// Whether a text holds any of the values.
    pub(crate) fn finds(&self, text: &str) -> bool {
        let text = text.as_bytes();
        (0..text.len()).any(|at| self.hidden(text, at, true).is_some_and(|length| length > 0))
    }

    /// The text with every value masked.
    pub(crate) fn hide(&self, text: &str) -> String {
        let hidden = Stream::new(self).pass(text.as_bytes(), true);
        String::from_utf8_lossy(&hidden).into_owned()
    }
}

impl Pattern {
    /// In every reading of the text: what looks escaped may be the value's own.
    fn fits(&self, text: &[u8]) -> [Fit; 4] {
        let wanted = &self.bytes;
        match self.form {
            Form::Plain => {
                let read = |percent, backslash| escaped(wanted, text, |sign| sign == percent || sign == backslash);
                [
                    exact(wanted, text),
                    read(b'%', b'%'),
                    read(b'\\', b'\\'),
                    read(b'%', b'\\'),
                ]
            }
            Form::Base64 => [broken(wanted, text), Fit::No, Fit::No, Fit::No],
        }
    }
}

fn exact(wanted: &[u8], text: &[u8]) -> Fit {
    if text.starts_with(wanted) {
        Fit::Whole(wanted.len())
    } else if wanted.starts_with(text) {
        Fit::Cut
    } else {
        Fit::No
    }
}

/// `is_escape` tells what is read as the beginning of an escaped character.
fn escaped(wanted: &[u8], text: &[u8], is_escape: impl Fn(u8) -> bool) -> Fit {
    let mut at = 0;
    for byte in wanted {
        let rest = text.get(at..).unwrap_or_default();
        let length = match rest.first() {
            Some(sign @ (b'%' | b'\\')) if !is_escape(*sign) => (sign == byte).then_some(1),
            _ => length_of(*byte, rest),
        };
        match length {
            Some(0) => return Fit::Cut,
            Some(length) => at += length,
            None => return Fit::No,
        }
    }
    Fit::Whole(at)
}

/// How many bytes at the beginning of `text` stand for `byte`; 0 if the text ends too soon to tell.
fn length_of(byte: u8, text: &[u8]) -> Option<usize> {
    match text {
        [b'%', high, low, ..] if from_hex(*high, *low) == Some(byte) => Some(3),
        [b'\\', b'u', b'0', b'0', high, low, ..] if from_hex(*high, *low) == Some(byte) => Some(6),
        _ if is_begun(byte, text) => Some(0),
        [b'\\', letter, ..] if unescaped(*letter) == byte => Some(2),
        [b'+', ..] if byte == b' ' => Some(1),
        _ => text.first().filter(|first| **first == byte).map(|_| 1),
    }
}

/// Whether the text ends in the middle of what may stand for `byte`.
fn is_begun(byte: u8, text: &[u8]) -> bool {
    match text {
        [] | [b'%' | b'\\'] => true,
        [b'%', high] => from_hex(*high, b'0') == Some(byte & 0xf0),
        [b'\\', b'u', rest @ ..] => rest.len() < 4 && rest.iter().take(2).all(|digit| *digit == b'0'),
        _ => false,
    }
}

fn unescaped(letter: u8) -> u8 {
    match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        other => other,
    }
}

fn from_hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn broken(wanted: &[u8], text: &[u8]) -> Fit {
    let mut at = 0;
    for (index, byte) in wanted.iter().enumerate() {
        while index >= BEFORE_BREAK && matches!(text.get(at), Some(b'\r' | b'\n')) {
            at += 1;
        }
        match text.get(at) {
            None => return Fit::Cut,
            Some(found) if found == byte => at += 1,
            Some(_) => return Fit::No,
        }
    }
    Fit::Whole(at)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn ends_in_word(text: &[u8], length: usize) -> bool {
    length
        .checked_sub(1)
        .and_then(|end| text.get(end))
        .is_some_and(|byte| is_word(*byte))
}

fn begins_word(text: &[u8], at: usize) -> bool {
    if !text.get(at).is_some_and(|byte| is_word(*byte)) {
        return true;
    }
    match text.get(..at).unwrap_or_default() {
        [.., b'%', high, low] if from_hex(*high, *low).is_some() => true,
        [.., b'\\', _] | [] => true,
        [.., before] => !is_word(*before),
    }
}

/// Base64 of a value. Not `whole`: those characters that it has wherever in a longer text it stands, `shift` bytes after a
/// third one.
fn base64(value: &[u8], shift: usize, whole: bool) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = std::iter::repeat_n(0, shift).chain(value.iter().copied()).collect();
    let mut text = Vec::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | usize::from(three.get(at).copied().unwrap_or(0))
        });
        for at in 0..=three.len() {
            text.extend(LETTERS.get(bits >> (18 - 6 * at) & 63));
        }
        text.extend(std::iter::repeat_n(b'=', 3 - three.len()));
    }
    if whole {
        return text;
    }
    let begin = (shift * 8).div_ceil(6);
    let end = bytes.len() * 8 / 6;
    text.get(begin..end).unwrap_or_default().to_vec()
}

/// Text that comes in pieces. What may be the beginning of a secret is held back until more is seen.
pub(crate) struct Stream<'a> {
    mask: &'a Mask,
    /// A little of what is passed on already, then what is held back.
    text: Vec<u8>,
    /// Where the latter begins.
    at: usize,
    /// Up to where it is to be hidden.
    covered: usize,
    /// Whether the last that was passed on is the mask.
    masking: bool,
}

impl<'a> Stream<'a> {
    /// A text of which nothing is seen yet.
    pub(crate) fn new(mask: &'a Mask) -> Self {
        Self {
            mask,
            text: Vec::new(),
            at: 0,
            covered: 0,
            masking: false,
        }
    }

    /// What may be passed on once these bytes have come; everything after the last.
    pub(crate) fn pass(&mut self, bytes: &[u8], last: bool) -> Vec<u8> {
        self.text.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(bytes.len());
        while let Some(byte) = self.text.get(self.at) {
            let Some(length) = self.mask.hidden(&self.text, self.at, last) else {
                break;
            };
            self.covered = self.covered.max(self.at + length);
            let masking = self.at < self.covered;
            if !masking {
                out.push(*byte);
            } else if !self.masking {
                out.extend_from_slice(MASK);
            }
            self.masking = masking;
            self.at += 1;
        }
        let known = self.at.saturating_sub(CONTEXT);
        self.text.drain(..known);
        self.at -= known;
        self.covered = self.covered.saturating_sub(known);
        out
    }
}

#[cfg(test)]
mod tests;
