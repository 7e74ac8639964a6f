//! How long backups are kept: a number of days or hours.

use jiff::SignedDuration;

/// The longest time that is kept count of, about a hundred years: expirations stay valid timestamps.
const LONGEST_HOURS: i64 = 24 * 36_525;

/// A ttl that is not of the form that the API promises.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("ttl \"{0}\" is not a number of days or hours such as 7d or 12h, of a hundred years at most")]
pub struct InvalidTtl(String);

/// The time that a ttl such as `7d`, `7D`, `12h` or `12H` stands for.
pub fn parse(text: &str) -> Result<SignedDuration, InvalidTtl> {
    let invalid = || InvalidTtl(text.to_owned());
    let unit = text.chars().last().ok_or_else(invalid)?;
    let number: &str = text.strip_suffix(unit).unwrap_or_default();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let number: i64 = number.parse().map_err(|_| invalid())?;
    let hours = match unit {
        'd' | 'D' => number.checked_mul(24),
        'h' | 'H' => Some(number),
        _ => None,
    };
    let hours = hours.filter(|hours| *hours <= LONGEST_HOURS).ok_or_else(invalid)?;
    Ok(SignedDuration::from_hours(hours))
}

/// How long logs are kept beside backups of that ttl: a day longer, for base backups that are about to expire.
pub fn logfile_ttl(text: &str) -> Option<SignedDuration> {
    parse(text).ok()?.checked_add(SignedDuration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_hours_are_read_in_either_case() {
        for (text, hours) in [("7d", 168), ("7D", 168), ("12h", 12), ("12H", 12), ("0d", 0)] {
            assert_eq!(parse(text), Ok(SignedDuration::from_hours(hours)), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "d",
            "7",
            "7m",
            "7|",
            "-1d",
            "+1d",
            "1.5d",
            "7 d",
            "99999999999999999999d",
            "9223372036854775807d",
            "7ä",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn logs_are_kept_a_day_longer() {
        assert_eq!(logfile_ttl("7d"), Some(SignedDuration::from_secs(691_200)));
        assert_eq!(logfile_ttl("2h"), Some(SignedDuration::from_secs(93_600)));
        assert_eq!(logfile_ttl("x"), None);
    }
}
