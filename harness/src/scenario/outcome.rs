//! What came of a scenario: steps, budgets, audit, verdict.

use std::sync::Arc;

use ackscope_protocol::control::BackendKind;
use ackscope_protocol::ids::MessageId;
use ackscope_protocol::trace::TraceEvent;
use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::latency::{BudgetResult, Latencies};

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub messages: Vec<MessageId>,
}

/// What a run proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
        if step_failed || self.audit.broken > 0 {
            Verdict::Fail
        } else if self.environment_failed.is_some() || inconclusive {
            Verdict::Inconclusive
        } else if self.budgets.iter().any(|budget| !budget.kept) {
            Verdict::Fail
        } else {
            Verdict::Pass
        }
    }
}
