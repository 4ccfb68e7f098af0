//! A point at which the driver is killed.

use std::fmt;

/// Where a driver dies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// At a commit of the journal, counted from 1.
    Journal { number: u64, edge: Edge },
    /// At a request to a Harbor, counted from 1 among those alike.
    Request { what: String, nth: u64, end: End },
    /// At an update of DNS, counted from 1.
    Update { number: u64, end: End },
}

/// Before or after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    Before,
    After,
}

/// What becomes of the request whose sender dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It never arrives.
    Lost,
    /// It is under way when its sender dies, and is carried out after that.
    Late,
    /// It was carried out, and the answer finds nobody.
    Unanswered,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Journal { number, edge } => {
                let edge = if *edge == Edge::Before {
                    "before"
                } else {
                    "after"
                };
                write!(f, "{edge} commit {number}")
            }
            Point::Request { what, nth, end } => write!(f, "{what}, time {nth}: {}", words(*end)),
            Point::Update { number, end } => write!(f, "DNS update {number}: {}", words(*end)),
        }
    }
}

fn words(end: End) -> &'static str {
    match end {
        End::Lost => "lost",
        End::Late => "carried out after the death",
        End::Unanswered => "carried out, unanswered",
    }
}
