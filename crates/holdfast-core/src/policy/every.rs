//! The duration behind `@every`, as Go writes durations: `1h30m`, `1.5h`, `90m`.

use jiff::SignedDuration;

/// Nothing is backed up more often.
const LEAST: SignedDuration = SignedDuration::from_mins(1);
const NANOS: u128 = 1_000_000_000;
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", NANOS),
    ("m", 60 * NANOS),
    ("h", 3600 * NANOS),
];

/// Reads a duration of whole seconds; parts of one are cut off, as a CronJob does.
pub(super) fn parse(text: &str) -> Result<SignedDuration, String> {
    let nanos = nanos(text).ok_or("has no duration such as 1h or 90m behind @every")?;
    let seconds = i64::try_from(nanos / NANOS).map_err(|_| "never comes due")?;
    let duration = SignedDuration::from_secs(seconds);
    if duration < LEAST {
        return Err("comes due more often than once a minute".to_owned());
    }
    Ok(duration)
}

fn nanos(text: &str) -> Option<u128> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut sum = 0_u128;
    while !rest.is_empty() {
        let end = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let (number, tail) = rest.split_at(end);
        let end = tail.find(|char: char| char.is_ascii_digit() || char == '.');
        let (unit, after) = tail.split_at(end.unwrap_or(tail.len()));
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(times(number, *size)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

/// A decimal number of units.
fn times(number: &str, size: u128) -> Option<u128> {
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u128>().ok()
        }
    };
    // More digits than these do not reach a nanosecond.
    let fraction = fraction.get(..fraction.len().min(15))?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = digits(fraction)?.checked_mul(size)? / scale;
    digits(integer)?.checked_mul(size)?.checked_add(part)
}
