//! The cron expressions that Harbor parses: six fields, seconds first, no descriptors.

/// Lowest and highest value of each field, and the names that stand for numbers.
const FIELDS: [(u32, u32, &[&str]); 6] = [
    (0, 59, &[]),
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Whether Harbor's parser takes the expression. What it asks of the first two fields is more: see
/// [`validate_policy`](crate::validate_policy).
pub(crate) fn is_parsable(cron: &str) -> bool {
    // A time zone in front is parsed, and refused later for not being `0`.
    let fields = match cron
        .strip_prefix("TZ=")
        .or_else(|| cron.strip_prefix("CRON_TZ="))
    {
        Some(zoned) => match zoned.split_once(' ') {
            Some((zone, fields)) if !zone.is_empty() => fields,
            _ => return false,
        },
        None => cron,
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    fields.len() == FIELDS.len()
        && fields.iter().zip(FIELDS).all(|(text, (low, high, names))| {
            text.split(',')
                .filter(|range| !range.is_empty())
                .all(|range| is_range(range, low, high, names))
        })
}

/// `*`, `?`, `n`, `n-m`, each with `/step`.
fn is_range(text: &str, low: u32, high: u32, names: &[&str]) -> bool {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    if step.is_some_and(|step| !step.parse::<u32>().is_ok_and(|step| step > 0)) {
        return false;
    }
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (first, Some(last)),
        None => (range, None),
    };
    if matches!(first, "*" | "?") {
        return true;
    }
    let number = |text: &str| {
        let by_name = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        by_name
            .and_then(|at| u32::try_from(at).ok())
            .map(|at| at + low)
            .or_else(|| text.parse().ok())
    };
    let Some(start) = number(first) else {
        return false;
    };
    let end = match (last, step) {
        (Some(last), _) => number(last),
        (None, Some(_)) => Some(high),
        (None, None) => Some(start),
    };
    end.is_some_and(|end| low <= start && start <= end && end <= high)
}
