//! Cron expressions of five fields, in UTC.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, tz::TimeZone};

/// A cron expression.
#[derive(Clone, Debug)]
pub struct Cron(croner::Cron);

/// An expression that cannot be understood or never comes due.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("\"{expression}\" {why}")]
pub struct InvalidCron {
    expression: String,
    why: String,
}

/// Dates are tried for from here: the expression alone decides whether it is valid.
const SOME_DAY: i64 = 1_767_225_600;

impl Cron {
    /// Reads five fields, or a nickname such as `@daily`. Time zones are not taken: schedules are in UTC.
    pub fn parse(expression: &str) -> Result<Self, InvalidCron> {
        let invalid = |why: String| InvalidCron {
            expression: expression.chars().take(100).collect(),
            why,
        };
        let trimmed = expression.trim();
        if trimmed.contains("TZ=") {
            return Err(invalid("names a time zone; schedules are in UTC".to_owned()));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            // `0/15`, as Kubernetes' CronJob takes it: from 0 in steps of 15.
            .sloppy_ranges(true)
            .build();
        // Another word for it, which the parser does not know.
        let known = if trimmed.eq_ignore_ascii_case("@midnight") {
            "@daily"
        } else {
            trimmed
        };
        let plain: Vec<&str> = known.split_whitespace().map(plain).collect();
        let cron = parser
            .parse(&plain.join(" "))
            .map_err(|error| invalid(format!("is not a cron expression: {error}")))?;
        let cron = Self(cron);
        let start = Timestamp::from_second(SOME_DAY).map_err(|error| invalid(error.to_string()))?;
        if cron.after(start).is_none() {
            return Err(invalid("never comes due".to_owned()));
        }
        Ok(cron)
    }

    /// The first time after `time` that matches.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let found = self.0.find_next_occurrence(&time.to_zoned(TimeZone::UTC), false).ok()?;
        Some(found.timestamp())
    }

    /// The last time up to `time` that matches.
    pub fn up_to(&self, time: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(time.as_second()).ok()?;
        let found = self
            .0
            .find_previous_occurrence(&whole.to_zoned(TimeZone::UTC), true)
            .ok()?;
        Some(found.timestamp())
    }

    /// How many times match after `from` and before `to`; counts no further than `most`.
    pub fn between(&self, from: Timestamp, to: Timestamp, most: u32) -> u32 {
        let (mut time, mut count) = (from, 0);
        while count < most {
            match self.after(time) {
                Some(next) if next < to => (time, count) = (next, count + 1),
                _ => break,
            }
        }
        count
    }
}

/// A field that holds every value is `*`, however it is written: of two days only one that is not restricts the other, as
/// Kubernetes' CronJob has it.
fn plain(field: &str) -> &str {
    if matches!(field, "?" | "*/1" | "?/1") {
        "*"
    } else {
        field
    }
}
