//! Kubernetes quantities: reading them, comparing them and writing them back in their canonical form.
//!
//! The grammar is that of `resource.Quantity`: a signed decimal number followed by a binary suffix (`Ki` to `Ei`), a
//! decimal one (`n`, `u`, `m`, `k` to `E`) or a decimal exponent (`e3`). Values are held as whole billionths, the finest
//! step that Kubernetes knows; what is finer is rounded up, away from zero.

use std::{cmp::Ordering, fmt, str::FromStr};

#[cfg(test)]
mod tests;

const NANOS: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// Longest text read. Kubernetes has no such limit, but nobody writes more and the work is bounded by it.
const MAX_TEXT: usize = 64;

/// How a quantity was written, and so how it is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Binary,
    Decimal,
    Exponent,
}

/// An amount of something, such as the bytes of a volume. Compared by value: `1024Mi` equals `1Gi`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    family: Family,
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text does not follow the grammar.
    #[error("`{0}` is not a quantity such as `10Gi`, `500M` or `1e9`")]
    Malformed(String),
    /// The number is larger than anything that can be stored.
    #[error("quantity `{0}` is too large")]
    TooLarge(String),
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self {
        nanos: 0,
        family: Family::Decimal,
    };

    /// Whether there is more than nothing of it.
    pub fn is_positive(self) -> bool {
        self.nanos > 0
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let malformed = || QuantityError::Malformed(text.chars().take(MAX_TEXT).collect());
        if text.len() > MAX_TEXT {
            return Err(malformed());
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(malformed());
        }
        let scale = Scale::parse(suffix).ok_or_else(malformed)?;
        let nanos = scale
            .nanos(whole, fraction)
            .ok_or_else(|| QuantityError::TooLarge(text.to_owned()))?;
        Ok(Self {
            nanos: if negative { -nanos } else { nanos },
            family: scale.family(),
        })
    }
}

/// What the suffix multiplies by.
enum Scale {
    Power2(u32),
    Power10(i32),
    Exponent(i32),
}

impl Scale {
    fn parse(suffix: &str) -> Option<Self> {
        if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Some(Self::Power2(*power));
        }
        if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            return Some(Self::Power10(*power));
        }
        // `i32::from_str` takes exactly the sign and digits that the grammar allows.
        let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
        Some(Self::Exponent(exponent))
    }

    fn family(&self) -> Family {
        match self {
            Self::Power2(_) => Family::Binary,
            Self::Power10(_) => Family::Decimal,
            Self::Exponent(_) => Family::Exponent,
        }
    }

    /// `whole.fraction` times the scale in billionths, rounded up; `None` when it does not fit.
    fn nanos(&self, whole: &str, fraction: &str) -> Option<i128> {
        let fraction = fraction.trim_end_matches('0');
        let mantissa = match format!("{whole}{fraction}").trim_start_matches('0') {
            "" => return Some(0),
            digits => digits.parse::<i128>().ok()?,
        };
        let places = i32::try_from(fraction.len()).ok()?;
        let (numerator, power10) = match self {
            Self::Power2(power) => (mantissa.checked_mul(1_i128 << power)?, 9 - places),
            Self::Power10(power) | Self::Exponent(power) => (mantissa, power.checked_add(9 - places)?),
        };
        if power10 >= 0 {
            return numerator.checked_mul(10_i128.checked_pow(power10.unsigned_abs())?);
        }
        match 10_i128.checked_pow(power10.unsigned_abs()) {
            Some(divisor) => Some(numerator / divisor + i128::from(numerator % divisor != 0)),
            // Less than one billionth, and not nothing.
            None => Some(1),
        }
    }
}

impl fmt::Display for Quantity {
    /// The canonical form of Kubernetes: the largest suffix of the family that leaves a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let size = self.nanos.unsigned_abs();
        let nanos = NANOS.unsigned_abs();
        if self.family == Family::Binary && size.is_multiple_of(nanos) && size >= 1024 * nanos {
            let units = size / nanos;
            let suffix = BINARY.iter().rev().find(|(_, power)| units.is_multiple_of(1 << power));
            let (name, power) = suffix.copied().unwrap_or(("", 0));
            return write!(f, "{sign}{}{name}", units >> power);
        }
        // Every quantity is a whole number of billionths, the smallest suffix.
        let fits = |power: i32| size.is_multiple_of(10_u128.pow((power + 9).unsigned_abs()));
        let largest = DECIMAL.iter().rev().find(|(_, power)| size != 0 && fits(*power));
        let (name, power) = largest.copied().unwrap_or(("", 0));
        let number = if size == 0 {
            0
        } else {
            size / 10_u128.pow((power + 9).unsigned_abs())
        };
        match (self.family, power) {
            (Family::Exponent, 0) => write!(f, "{sign}{number}"),
            (Family::Exponent, power) => write!(f, "{sign}{number}e{power}"),
            (Family::Binary | Family::Decimal, _) => write!(f, "{sign}{number}{name}"),
        }
    }
}
