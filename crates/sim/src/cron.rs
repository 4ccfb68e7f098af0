//! Schedules: six fields, the first the text `0`, the second not `*`; times are UTC.

use jiff::{SignedDuration, Timestamp, Unit, civil::Weekday, tz::TimeZone};

/// A schedule that can be asked for its next time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    fields: [Vec<i64>; 6],
    any_day: bool,
    any_weekday: bool,
}

/// Why Harbor refuses a schedule, in its own words.
pub(crate) fn check(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(
            "the cron string cannot be empty when the trigger type is scheduled".to_owned(),
        );
    }
    // A zone in front parses, and then stands where the seconds should.
    let fields: Vec<&str> = text.split_whitespace().collect();
    let bare = fields
        .first()
        .filter(|first| first.starts_with("TZ=") || first.starts_with("CRON_TZ="));
    let rest = if bare.is_some() {
        fields[1..].join(" ")
    } else {
        fields.join(" ")
    };
    if Cron::parse(&rest).is_none() {
        return Err(format!("invalid cron string for scheduled trigger: {text}"));
    }
    if fields[0] != "0" {
        return Err(
            "the 1st field (indicating Seconds of time) of the cron setting must be 0".to_owned(),
        );
    }
    if fields[1] == "*" {
        return Err(
            "* is not allowed for the Minutes field of the cron setting of replication policy"
                .to_owned(),
        );
    }
    Ok(())
}

impl Cron {
    /// Reads six fields: second, minute, hour, day of month, month, day of week.
    pub(crate) fn parse(text: &str) -> Option<Cron> {
        const LIMITS: [(i64, i64); 6] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != LIMITS.len() {
            return None;
        }
        let mut fields: [Vec<i64>; 6] = Default::default();
        for (at, ((low, high), word)) in LIMITS.into_iter().zip(&words).enumerate() {
            fields[at] = field(word, low, high, at)?;
        }
        let is_any = |word: &str| word.starts_with(['*', '?']);
        Some(Cron {
            fields,
            any_day: is_any(words[3]),
            any_weekday: is_any(words[5]),
        })
    }

    /// The first time after `after`; `None` when there is none within a year and a bit.
    pub(crate) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let mut at = after
            .to_zoned_datetime(TimeZone::UTC)
            .round(Unit::Second)
            .ok()?;
        while at.timestamp() <= after {
            at = at.checked_add(SignedDuration::from_secs(1)).ok()?;
        }
        let end = at.checked_add(SignedDuration::from_hours(24 * 400)).ok()?;
        while at < end {
            let step = if !self.on_day(&at) {
                24 * 3600
                    - i64::from(at.hour()) * 3600
                    - i64::from(at.minute()) * 60
                    - i64::from(at.second())
            } else if !self.has(2, at.hour()) {
                3600 - i64::from(at.minute()) * 60 - i64::from(at.second())
            } else if !self.has(1, at.minute()) {
                60 - i64::from(at.second())
            } else if !self.has(0, at.second()) {
                1
            } else {
                return Some(at.timestamp());
            };
            at = at.checked_add(SignedDuration::from_secs(step)).ok()?;
        }
        None
    }

    fn on_day(&self, at: &jiff::ZonedDateTime) -> bool {
        let weekday = match at.weekday() {
            Weekday::Sunday => 0,
            other => other.to_monday_one_offset(),
        };
        let (day, weekday) = (self.has(3, at.day()), self.has(5, weekday));
        // With both fields given, either one is enough.
        let days = if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        };
        days && self.has(4, at.month())
    }

    fn has(&self, field: usize, value: i8) -> bool {
        self.fields[field].contains(&i64::from(value))
    }
}

fn field(word: &str, low: i64, high: i64, at: usize) -> Option<Vec<i64>> {
    let mut values = Vec::new();
    for part in word.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                Some(step.parse::<i64>().ok().filter(|step| *step > 0)?),
            ),
            None => (part, None),
        };
        let (from, until) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (low, high),
            Some((from, until)) => (value(from, at)?, value(until, at)?),
            // `5/15` runs from 5 to the end.
            None if step.is_some() => (value(range, at)?, high),
            None => (value(range, at)?, value(range, at)?),
        };
        if from < low || until > high || from > until {
            return None;
        }
        values.extend((from..=until).step_by(usize::try_from(step.unwrap_or(1)).ok()?));
    }
    Some(values)
}

fn value(text: &str, at: usize) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ];
    const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let upper = text.to_ascii_uppercase();
    let named = match at {
        4 => MONTHS
            .iter()
            .position(|name| *name == upper)
            .map(|month| month + 1),
        5 => DAYS.iter().position(|name| *name == upper),
        _ => None,
    };
    named.map_or_else(|| text.parse().ok(), |number| i64::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_found() {
        let next = |cron: &str, after: &str| {
            let after: Timestamp = after.parse().expect("a time");
            Cron::parse(cron)
                .and_then(|cron| cron.next_after(after))
                .map(|time| time.to_string())
        };
        let cases = [
            (
                "0 */8 * * * *",
                "2026-11-23T17:00:00Z",
                "2026-11-23T17:08:00Z",
            ),
            (
                "0 */8 * * * *",
                "2026-11-23T17:57:00.5Z",
                "2026-11-23T18:00:00Z",
            ),
            (
                "0 0 2 * * *",
                "2026-11-23T17:00:00Z",
                "2026-11-24T02:00:00Z",
            ),
            (
                "0 0/15 * * * ?",
                "2026-11-23T17:46:00Z",
                "2026-11-23T18:00:00Z",
            ),
            (
                "0 0,30 1-3 * * *",
                "2026-11-23T03:30:00Z",
                "2026-11-24T01:00:00Z",
            ),
            (
                "0 0 0 * * SUN",
                "2026-11-23T17:00:00Z",
                "2026-11-29T00:00:00Z",
            ),
            (
                "0 0 0 1 JAN *",
                "2026-11-23T17:00:00Z",
                "2027-01-01T00:00:00Z",
            ),
        ];
        for (cron, after, wanted) in cases {
            assert_eq!(
                next(cron, after).as_deref(),
                Some(wanted),
                "{cron} after {after}"
            );
        }
    }
}
