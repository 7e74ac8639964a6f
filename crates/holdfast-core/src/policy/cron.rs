//! Schedules as Kubernetes' CronJob reads them, in UTC: five fields, a nickname, or `@every` with a duration.
//!
//! Fields are read here, by the rules of a CronJob, and handed to the calendar as plain lists of numbers: what each of
//! them means is then beyond doubt.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::every;

/// A cron expression.
#[derive(Clone, Debug)]
pub struct Cron(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// At times of the calendar.
    Calendar(Box<croner::Cron>),
    /// Always this long after the last time.
    Every(SignedDuration),
}

/// An expression that cannot be understood or never comes due.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("\"{expression}\" {why}")]
pub struct InvalidCron {
    expression: String,
    why: String,
}

/// What one field may hold; names stand for the numbers from the least on.
struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field::numbers("minute", 0, 59),
    Field::numbers("hour", 0, 23),
    Field::numbers("day of month", 1, 31),
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        name: "day of week",
        least: 0,
        most: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// Dates are tried for from here: the expression alone decides whether it is valid.
const SOME_DAY: i64 = 1_767_225_600;

impl Cron {
    /// Reads an expression. Time zones are not taken, as a CronJob's `schedule` takes none: schedules are in UTC.
    pub fn parse(expression: &str) -> Result<Self, InvalidCron> {
        let cron = read(expression).and_then(|kind| {
            let start = Timestamp::from_second(SOME_DAY).map_err(|error| error.to_string())?;
            let cron = Self(kind);
            match cron.after(start) {
                Some(_) => Ok(cron),
                None => Err("never comes due".to_owned()),
            }
        });
        cron.map_err(|why| InvalidCron {
            expression: expression.chars().take(100).collect(),
            why,
        })
    }

    /// The first slot after `time`, which is itself one where the schedule is `@every`.
    pub fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Kind::Calendar(cron) => {
                let found = cron.find_next_occurrence(&time.to_zoned(TimeZone::UTC), false).ok()?;
                Some(found.timestamp())
            }
            Kind::Every(pause) => whole(time)?.checked_add(*pause).ok(),
        }
    }

    /// The last slot after `from`, which is settled, and up to `to`.
    pub fn newest(&self, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
        let found = match &self.0 {
            Kind::Calendar(cron) => {
                let to = whole(to)?.to_zoned(TimeZone::UTC);
                cron.find_previous_occurrence(&to, true).ok()?.timestamp()
            }
            Kind::Every(pause) => {
                let from = whole(from)?;
                let passed = to.duration_since(from).as_secs().checked_div(pause.as_secs())?;
                from.checked_add(pause.checked_mul(i32::try_from(passed).ok()?)?).ok()?
            }
        };
        Some(found).filter(|found| *found > from)
    }

    /// How many slots come after `from` and before `to`; counts no further than `most`.
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

/// Without the parts of a second.
fn whole(time: Timestamp) -> Option<Timestamp> {
    Timestamp::from_second(time.as_second()).ok()
}

fn read(expression: &str) -> Result<Kind, String> {
    if expression.contains("TZ") {
        return Err("names a time zone; schedules are in UTC".to_owned());
    }
    if let Some(duration) = expression.strip_prefix("@every ") {
        return every::parse(duration).map(Kind::Every);
    }
    let expression = match expression {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        unknown if unknown.starts_with('@') => return Err("is no nickname that a CronJob knows".to_owned()),
        fields => fields,
    };
    let found: Vec<&str> = expression.split_whitespace().collect();
    if found.len() != FIELDS.len() {
        let count = found.len();
        return Err(format!("has {count} fields instead of five"));
    }
    let fields = found.iter().zip(&FIELDS).map(|(text, field)| {
        let why = |why: String| format!("is not a cron expression: {} \"{text}\" {why}", field.name);
        field.read(text).map_err(why)
    });
    let plain = fields.collect::<Result<Vec<String>, String>>()?.join(" ");
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    let cron = parser
        .parse(&plain)
        .map_err(|error| format!("is not a cron expression: {error}"))?;
    Ok(Kind::Calendar(Box::new(cron)))
}

impl Field {
    const fn numbers(name: &'static str, least: u8, most: u8) -> Self {
        Self {
            name,
            least,
            most,
            names: &[],
        }
    }

    /// The values as a list of numbers. A star, however it is written, stays one: of two days only one that is none
    /// restricts the other.
    fn read(&self, text: &str) -> Result<String, String> {
        let mut values = vec![false; usize::from(self.most) + 1];
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (start, end, step, star) = self.range(part)?;
            if star {
                return self.checked(text, "*");
            }
            for value in (start..=end).step_by(step) {
                if let Some(has) = values.get_mut(usize::from(value)) {
                    *has = true;
                }
            }
        }
        let held = values.iter().enumerate().filter(|(_, has)| **has);
        let held: Vec<String> = held.map(|(value, _)| value.to_string()).collect();
        if held.is_empty() {
            return Err("holds no value".to_owned());
        }
        Ok(held.join(","))
    }

    /// What a field with a star comes to, if its other parts can be read too.
    fn checked(&self, text: &str, star: &str) -> Result<String, String> {
        let mut parts = text.split(',').filter(|part| !part.is_empty());
        parts.try_for_each(|part| self.range(part).map(drop))?;
        Ok(star.to_owned())
    }

    /// First, last and step of one part, and whether it is a star: `*`, `?`, both with a step of one too.
    fn range(&self, part: &str) -> Result<(u8, u8, usize, bool), String> {
        let (range, step) = match part.split('/').collect::<Vec<_>>()[..] {
            [range] => (range, None),
            [range, step] => (
                range,
                Some(step.parse::<usize>().map_err(|_| "has a step that is no number")?),
            ),
            _ => return Err("has too many slashes".to_owned()),
        };
        let (start, end, star) = match range.split('-').collect::<Vec<_>>()[..] {
            ["*" | "?", ..] => (self.least, self.most, true),
            // From there to the end, where there is a step.
            [one] if step.is_some() => (self.value(one)?, self.most, false),
            [one] => (self.value(one)?, self.value(one)?, false),
            [first, last] => (self.value(first)?, self.value(last)?, false),
            _ => return Err("has too many hyphens".to_owned()),
        };
        let step = step.unwrap_or(1);
        if start > end || step == 0 {
            return Err("has a range without a value".to_owned());
        }
        Ok((start, end, step, star && step == 1))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let named = (self.least..)
            .zip(self.names)
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(value, _)| value).or_else(|| text.parse().ok());
        value
            .filter(|value| (self.least..=self.most).contains(value))
            .ok_or_else(|| {
                format!(
                    "holds \"{text}\", which is not between {} and {}",
                    self.least, self.most
                )
            })
    }
}
