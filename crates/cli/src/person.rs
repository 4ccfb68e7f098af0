//! The person at this terminal, and consent given on the command line.

use std::sync::Arc;

use async_trait::async_trait;
use runbook_engine::clock::Clock;
use runbook_engine::event::About;
use runbook_engine::executor::{Answer, Person};
use runbook_engine::plan::Plan;
use runbook_engine::rehearsal::rehearse;
use runbook_engine::run::Question;
use runbook_engine::step::Step;
use runbook_steps::{Sites, SitesReader};

use crate::output::{Output, complain, style};
use crate::progress::{Progress, change_line};
use crate::typed::ask;

/// Consent as given on the command line.
#[derive(Clone, Debug, Default)]
pub struct Consent {
    /// The site that `--confirm` names.
    pub confirm: Option<String>,
    /// `--yes`: to what can be taken back.
    pub yes: bool,
    /// `--wait`: for an answer from another process.
    pub wait: bool,
    /// `--accept-healthy`: to an unplanned run although the active is healthy.
    pub healthy: bool,
}

/// Answers the questions of one run.
pub struct Terminal<'a> {
    /// How this process speaks.
    pub out: Output,
    /// Who sits here.
    pub who: &'a str,
    /// The run.
    pub run: &'a str,
    /// Its plan.
    pub plan: &'a Plan,
    /// Its steps, to say what will change.
    pub steps: &'a [Box<dyn Step<Sites>>],
    /// What they look at.
    pub reader: &'a SitesReader,
    /// What was consented to beforehand.
    pub consent: Consent,
    /// To be taken out of the way of a question.
    pub progress: Arc<Progress>,
}

#[async_trait]
impl Person for Terminal<'_> {
    async fn answer(&self, step: &str, question: &Question) -> Answer {
        // A finding at a gate was not known when the command was typed, so nothing typed then accepts it, but for the
        // one that has an argument of its own.
        let given = match question.about {
            About::Approval => self.given_beforehand(),
            About::Gate if self.consent.healthy && self.judges(step) => {
                Some(format!("{} (--accept-healthy)", self.who))
            }
            _ => None,
        };
        if let Some(by) = given {
            return Answer::Approve { by, reason: None };
        }
        self.progress.pause();
        if !self.out.asks {
            if self.consent.wait {
                self.out.say(&format!("waiting for an answer from elsewhere: `runbook approve {0}` or `runbook decline {0}`", self.run));
                return Answer::Wait;
            }
            return Answer::Leave;
        }
        match question.about {
            About::Gate => self.ask_gate().await,
            _ => self.ask_approval().await,
        }
    }
}

impl Terminal<'_> {
    fn moves(&self) -> bool {
        self.plan.from != self.plan.to
    }

    /// The step that asks because the active is healthy.
    fn judges(&self, step: &str) -> bool {
        let planned = self.plan.steps.iter().find(|planned| planned.id == step);
        planned.is_some_and(|planned| planned.kind == "harbor.health")
    }

    fn given_beforehand(&self) -> Option<String> {
        let Consent { confirm, yes, .. } = &self.consent;
        match confirm {
            Some(site) if *site == self.plan.to => Some(format!("{} (--confirm {site})", self.who)),
            _ if *yes && !self.moves() => Some(format!("{} (--yes)", self.who)),
            _ => None,
        }
    }

    async fn ask_approval(&self) -> Answer {
        self.preview().await;
        let elsewhere = format!("(or, in another terminal: runbook approve {})", self.run);
        let (prompt, wanted) = if self.moves() {
            let to = &self.plan.to;
            (
                format!(
                    "Type the name of the site that shall serve traffic [{to}] {}: ",
                    style::dim(&elsewhere)
                ),
                to.clone(),
            )
        } else {
            (
                format!("Go on? [y/N] {}: ", style::dim(&elsewhere)),
                "y".to_owned(),
            )
        };
        match ask(&prompt).await {
            None => Answer::Leave,
            Some(typed) if typed == wanted => Answer::Approve {
                by: self.who.to_owned(),
                reason: None,
            },
            Some(typed) => Answer::Decline {
                by: self.who.to_owned(),
                reason: Some(format!("typed `{typed}`, not `{wanted}`")),
            },
        }
    }

    async fn ask_gate(&self) -> Answer {
        let prompt = "Type `accept` and the reason to accept it; anything else declines: ";
        match ask(prompt).await {
            None => Answer::Leave,
            Some(typed) => match typed
                .strip_prefix("accept ")
                .map(str::trim)
                .filter(|reason| !reason.is_empty())
            {
                Some(reason) => Answer::Approve {
                    by: self.who.to_owned(),
                    reason: Some(reason.to_owned()),
                },
                None => Answer::Decline {
                    by: self.who.to_owned(),
                    reason: Some(typed).filter(|typed| !typed.is_empty()),
                },
            },
        }
    }

    /// Says what the steps from here on will change, as far as it can be known now.
    async fn preview(&self) {
        let clock = Clock::wall(self.plan.time_scale);
        let rehearsed = rehearse(self.plan, self.steps, self.reader, &clock).await;
        complain(&style::bold("This will change:"));
        let mut crossed = false;
        for step in rehearsed {
            crossed |= step.cutover;
            let back = match (crossed, step.changes.is_empty()) {
                (_, true) => continue,
                (true, _) => "way back: runbook run failback",
                (false, _) => "undo until the cutover",
            };
            complain(&format!(
                "  {}  {}   {}",
                step.step,
                step.summary,
                style::dim(back)
            ));
            for change in &step.changes {
                complain(&change_line(change));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::labels::Labels;
    use crate::samples;

    /// A reader of a world that is not asked anything.
    async fn reader(folder: &Path) -> SitesReader {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secrets = |_: &str| Some(secrecy::SecretString::from("AAAA"));
        SitesReader::open(&samples::bindings(), &secrets, &folder.join("inventory.db"))
            .await
            .expect("clients")
    }

    fn question(about: About) -> Question {
        Question {
            nonce: "n".into(),
            about,
            text: "?".into(),
            output: serde_json::Value::Null,
            asked_at: samples::time(0),
        }
    }

    async fn answer(plan: &Plan, about: About, consent: Consent) -> Answer {
        let folder = tempfile::tempdir().expect("a folder");
        let out = Output {
            format: None,
            quiet: true,
            asks: false,
        };
        let person = Terminal {
            out,
            who: "ana@jump",
            run: "7f3kq",
            plan,
            steps: &[],
            reader: &reader(folder.path()).await,
            consent,
            progress: Arc::new(Progress::new(out, "7f3kq", Labels::of(plan))),
        };
        person.answer("approval", &question(about)).await
    }

    #[tokio::test]
    async fn only_the_site_that_shall_serve_confirms_and_never_a_gate() {
        let plan = samples::plan();
        let confirm = |site: &str| Consent {
            confirm: Some(site.into()),
            ..Consent::default()
        };
        let yes = Answer::Approve {
            by: "ana@jump (--confirm dr)".into(),
            reason: None,
        };
        assert_eq!(answer(&plan, About::Approval, confirm("dr")).await, yes);
        assert_eq!(
            answer(&plan, About::Approval, confirm("primary")).await,
            Answer::Leave
        );
        assert_eq!(
            answer(&plan, About::Gate, confirm("dr")).await,
            Answer::Leave
        );
    }

    #[tokio::test]
    async fn yes_is_enough_only_for_what_moves_nobody() {
        let mut plan = samples::plan();
        let consent = Consent {
            yes: true,
            ..Consent::default()
        };
        assert_eq!(
            answer(&plan, About::Approval, consent.clone()).await,
            Answer::Leave
        );
        plan.to = plan.from.clone();
        let by = "ana@jump (--yes)".to_owned();
        assert_eq!(
            answer(&plan, About::Approval, consent).await,
            Answer::Approve { by, reason: None }
        );
    }

    #[tokio::test]
    async fn with_wait_another_process_may_answer() {
        let consent = Consent {
            wait: true,
            ..Consent::default()
        };
        assert_eq!(
            answer(&samples::plan(), About::Approval, consent).await,
            Answer::Wait
        );
    }
}
