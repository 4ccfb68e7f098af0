//! Errors of the clients, as steps report them.

use runbook_engine::event::Sort;
use runbook_engine::step::StepError;

/// An error of a Harbor.
pub(crate) fn harbor(error: runbook_harbor::Error) -> StepError {
    let sort = match error.sort() {
        runbook_harbor::Sort::Transient => Sort::Transient,
        runbook_harbor::Sort::Permanent => Sort::Permanent,
        runbook_harbor::Sort::Unknown => Sort::Unknown,
    };
    let unreachable = error.is_unreachable();
    let error = StepError::new(sort, error);
    if unreachable {
        error.unreachable()
    } else {
        error
    }
}

/// An error of a DNS provider.
pub(crate) fn dns(error: runbook_dns::Error) -> StepError {
    let sort = match error.sort() {
        runbook_dns::Sort::Transient => Sort::Transient,
        runbook_dns::Sort::Permanent => Sort::Permanent,
        runbook_dns::Sort::Unknown => Sort::Unknown,
    };
    StepError::new(sort, error)
}

/// A look at DNS servers that came to nothing. Looking again may help.
pub(crate) fn look(error: impl std::error::Error + Send + Sync + 'static) -> StepError {
    StepError::transient(error)
}

/// Something that another attempt would not change.
pub(crate) fn wrong(text: impl Into<String>) -> StepError {
    StepError::permanent(text.into())
}
