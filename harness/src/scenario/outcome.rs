//! What came of a scenario: steps, budgets, audit, verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use ackscope_protocol::control::BackendKind;
use ackscope_protocol::ids::MessageId;
use ackscope_protocol::trace::TraceEvent;
use ackscope_protocol::wire::AckState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::cost::Cost;
use crate::history::History;
use crate::latency::{BudgetResult, Latencies};
use crate::ledger::Ledger;

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum StepOutcome {
    /// It was done, or what it expects was so.
    Passed,
    /// What was expected was not so.
    Failed {
        /// What was expected, one sentence.
        expected: String,
        /// What was found instead, one sentence.
        found: String,
    },
    /// It could not be carried out for a reason that is not the system's under test.
    Inconclusive {
        /// Why, one sentence.
        reason: String,
    },
    /// Not carried out, because a step before it ended the run.
    Skipped,
}

/// A step and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
pub struct StepResult {
    /// Its place in the scenario, from 1.
    pub number: usize,
    /// The line it begins in.
    pub line: u32,
    /// What it does, one line.
    pub title: String,
    /// Whether it is a mark: a heading and nothing else.
    pub is_mark: bool,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: StepOutcome,
    /// How long it took, in microseconds of real time.
    pub took_us: u64,
    /// The messages it speaks of, and those that were found where it failed.
    #[schemars(with = "Vec<String>")]
    pub messages: Vec<MessageId>,
}

/// What a run proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every expectation, budget and promise was kept.
    Pass,
    /// The environment failed, not the system under test: nothing was proved.
    Inconclusive,
    /// An expectation, a budget or a promise was broken.
    Fail,
}

impl Verdict {
    /// The word as reports print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }
}

/// Everything that is known of a run when it has ended.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// The file it was read from.
    pub file_name: String,
    /// Which backend it ran on.
    pub backend: BackendKind,
    /// Which backend and why it was taken, in words: `embedded: it was asked for`.
    pub backend_reason: String,
    /// What was left to chance followed from this number.
    pub seed: u64,
    /// Every step.
    pub steps: Vec<StepResult>,
    /// Full histograms.
    pub latencies: Latencies,
    /// The scenario's budgets.
    pub budgets: Vec<BudgetResult>,
    /// The promises.
    pub audit: Audit,
    /// What each fault did, against what is promised meanwhile.
    pub ledger: Ledger,
    /// What the run cost itself.
    pub cost: Cost,
    /// Why the environment failed, if it did.
    pub environment_failed: Option<String>,
    /// How long all of it took, in microseconds of real time.
    pub took_us: u64,
    /// The recording.
    pub events: Vec<Arc<TraceEvent>>,
}

impl RunReport {
    /// What the run proved. A broken promise counts even where the environment failed later: it was broken.
    pub fn verdict(&self) -> Verdict {
        let step_failed = self.steps.iter().any(|step| matches!(step.outcome, StepOutcome::Failed { .. }));
        let inconclusive = self.steps.iter().any(|step| matches!(step.outcome, StepOutcome::Inconclusive { .. }));
        if step_failed || self.audit.broken > 0 || self.ledger.fails_run() {
            Verdict::Fail
        } else if self.environment_failed.is_some() || inconclusive {
            Verdict::Inconclusive
        } else if self.budgets.iter().any(|budget| !budget.kept) {
            Verdict::Fail
        } else {
            Verdict::Pass
        }
    }

    /// Why it did not pass, one sentence; none where it did.
    pub fn why_not(&self) -> Option<String> {
        let step = self.steps.iter().find_map(|step| match &step.outcome {
            StepOutcome::Failed { expected, found } => {
                Some(format!("line {}: {}: expected {expected}, found {found}", step.line, step.title))
            }
            StepOutcome::Inconclusive { reason } => Some(format!("line {}: {}: {reason}", step.line, step.title)),
            StepOutcome::Passed | StepOutcome::Skipped => None,
        });
        let finding = || self.audit.findings.first().map(|one| format!("{}: {}", one.kind.as_str(), one.sentence));
        let fault = || {
            let row = self.ledger.rows.iter().find(|row| row.fails_run)?;
            Some(format!("{} {}: {}", row.dependency, row.fault, row.reason))
        };
        let budget = || {
            let budget = self.budgets.iter().find(|budget| !budget.kept)?;
            Some(format!("the budget of {} {} was not kept", budget.measure.as_str(), budget.percentile.name()))
        };
        step.or_else(finding).or_else(fault).or_else(|| self.environment_failed.clone()).or_else(budget)
    }

    /// Messages as their senders were told: the last state, the reason of a refusal, or `none`.
    pub fn message_outcomes(&self) -> BTreeMap<String, u64> {
        message_outcomes(&History::of(&self.events))
    }
}

/// Messages of a run as their senders were told: the last state, the reason of a refusal, or `none`.
pub(crate) fn message_outcomes(history: &History) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for message in history.messages.iter().filter(|message| !message.sent_us.is_empty()) {
        let last = message.acks.iter().rfind(|seen| seen.ack.state != AckState::Pending);
        let outcome = match last {
            None => "none",
            Some(seen) => match (&seen.ack.error, seen.ack.state) {
                (Some(error), AckState::Rejected) => error.code.as_str(),
                (_, state) => state.as_str(),
            },
        };
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    outcomes
}
