//! A run as one JSON object, for machines.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::Audit;
use crate::latency::{BudgetResult, Measure, Summary};
use crate::scenario::outcome::{RunReport, StepResult, Verdict};

/// Version of the JSON report; it grows when a field changes its meaning or goes.
pub const REPORT_VERSION: u32 = 1;

/// The report's object.
#[derive(Debug, Serialize)]
pub struct JsonReport<'a> {
    /// [`REPORT_VERSION`].
    pub report_version: u32,
    /// Version of the program that ran it.
    pub ackscope_version: &'static str,
    /// The scenario's name.
    pub scenario: &'a str,
    /// The file it was read from.
    pub file: &'a str,
    /// The backend's name.
    pub backend: &'static str,
    /// Which backend and why it was taken, in words.
    pub backend_reason: &'a str,
    /// What was left to chance followed from this number.
    pub seed: u64,
    /// What the run proved.
    pub verdict: Verdict,
    /// Why the environment failed, if it did.
    pub environment_failed: Option<&'a str>,
    /// How long all of it took, in microseconds.
    pub took_us: u64,
    /// Every step.
    pub steps: &'a [StepResult],
    /// Figures of every measure that has values, in microseconds.
    pub latencies: BTreeMap<&'static str, Summary>,
    /// Every budget.
    pub budgets: &'a [BudgetResult],
    /// The promises.
    pub audit: &'a Audit,
    /// How many events were recorded.
    pub events: usize,
}

impl<'a> JsonReport<'a> {
    /// Of a run.
    pub fn of(report: &'a RunReport) -> Self {
        let latencies = Measure::ALL
            .into_iter()
            .map(|measure| (measure.as_str(), report.latencies.get(measure).summary()))
            .filter(|(_, summary)| summary.count > 0)
            .collect();
        Self {
            report_version: REPORT_VERSION,
            ackscope_version: env!("CARGO_PKG_VERSION"),
            scenario: &report.scenario,
            file: &report.file_name,
            backend: report.backend.as_str(),
            backend_reason: &report.backend_reason,
            seed: report.seed,
            verdict: report.verdict(),
            environment_failed: report.environment_failed.as_deref(),
            took_us: report.took_us,
            steps: &report.steps,
            latencies,
            budgets: &report.budgets,
            audit: &report.audit,
            events: report.events.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{failed_report, passed_report};

    #[test]
    fn the_object_says_everything_once() {
        let json = serde_json::to_value(JsonReport::of(&passed_report())).unwrap();
        assert_eq!(json["report_version"], 1);
        assert_eq!(json["verdict"], "pass");
        assert_eq!(json["backend"], "embedded");
        assert_eq!(json["steps"][1]["outcome"], "passed");
        assert_eq!(json["latencies"]["delivered"]["p99_us"], 2_000);
        assert!(json["latencies"].get("rejected").is_none());
        assert_eq!(json["audit"]["promises"]["seen"], 1);

        let json = serde_json::to_value(JsonReport::of(&failed_report())).unwrap();
        assert_eq!(json["verdict"], "fail");
        assert_eq!(json["steps"][1]["outcome"], "failed");
        assert_eq!(json["steps"][1]["found"], "nothing");
        assert_eq!(json["steps"][1]["messages"], json["steps"][0]["messages"]);
        assert_eq!(json["backend_reason"], "embedded: it was asked for");
        assert_eq!(json["audit"]["findings"][0]["kind"], "lost");
        assert_eq!(json["budgets"][0]["kept"], false);
        assert_eq!(json["budgets"][0]["measured_us"], serde_json::Value::Null);
    }
}
