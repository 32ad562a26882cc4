//! Runs as one JSON object, for machines; `ackscope run --schema` prints its JSON Schema.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::audit::Audit;
use crate::cost::Cost;
use crate::latency::{BudgetResult, Measure, Summary};
use crate::ledger::Ledger;
use crate::scenario::outcome::{RunReport, StepResult, Verdict};

use super::table::Table;

/// Version of the JSON report; it grows when a field changes its meaning or goes.
pub const REPORT_VERSION: u32 = 1;

/// The object of `report.json` and of `ackscope run --json`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "Ackscope report")]
pub struct JsonReports<'a> {
    /// The worst of the runs; `inconclusive` where there was none.
    pub verdict: Verdict,
    /// Every run.
    pub runs: Vec<JsonReport<'a>>,
    /// The scenarios on each backend, where they were played on several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'a Table>,
}

impl<'a> JsonReports<'a> {
    /// Of some runs.
    pub fn of(reports: impl IntoIterator<Item = &'a RunReport>) -> Self {
        let runs: Vec<_> = reports.into_iter().map(JsonReport::of).collect();
        let verdict = runs.iter().map(|run| run.verdict).max().unwrap_or(Verdict::Inconclusive);
        Self { verdict, runs, table: None }
    }

    /// Of runs on several backends.
    pub fn of_table(reports: impl IntoIterator<Item = &'a RunReport>, table: &'a Table) -> Self {
        Self { verdict: table.verdict, table: Some(table), ..Self::of(reports) }
    }
}

/// The JSON Schema of [`JsonReports`].
pub fn schema() -> Schema {
    schema_for!(JsonReports<'static>)
}

/// One run.
#[derive(Debug, Serialize, JsonSchema)]
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
    /// What each fault did, against what is promised meanwhile.
    pub ledger: &'a Ledger,
    /// What the run cost itself.
    pub cost: Cost,
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
            ledger: &report.ledger,
            cost: report.cost,
            events: report.events.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::report::fixtures::{degraded_report, failed_report, passed_report};

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

    #[test]
    fn faults_and_costs_are_in_it() {
        let json = serde_json::to_value(JsonReport::of(&degraded_report())).unwrap();
        assert_eq!(json["verdict"], "fail");
        let row = &json["ledger"][0];
        assert_eq!((&row["dependency"], &row["fault"], &row["sends"]), (&"search".into(), &"outage".into(), &2.into()));
        assert_eq!(row["outcomes"]["internal"], 1);
        assert_eq!(row["delivered"]["p99_us"], 4_000);
        assert_eq!(row["recovery"]["caught_up_us"], 260_000);
        assert_eq!((&row["verdict"], &row["fails_run"]), (&"broken".into(), &true.into()));
        assert_eq!(json["ledger"][1]["verdict"], "not_exercised");
        assert_eq!(json["cost"]["environment_us"], 40_000);
        assert_eq!(json["cost"]["timers_late"]["max_us"], 2_300);
    }

    /// What of a value is not as the schema says. Knows the words that the derived schema uses; the others only describe.
    fn problems(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Value::Object(words) = schema else { return Vec::new() };
        let inner = |schema: &Value| problems(root, schema, value, at);
        let mut wrong = Vec::new();
        for (word, what) in words {
            match word.as_str() {
                "$ref" => wrong.extend(inner(root.pointer(&what.as_str().unwrap()[1..]).unwrap())),
                "allOf" => wrong.extend(what.as_array().unwrap().iter().flat_map(inner)),
                "anyOf" | "oneOf" if !what.as_array().unwrap().iter().any(|one| inner(one).is_empty()) => {
                    wrong.push(format!("{at}: none of {what}"));
                }
                "const" if value != what => wrong.push(format!("{at}: not {what}")),
                "enum" if !what.as_array().unwrap().contains(value) => wrong.push(format!("{at}: not in {what}")),
                "minimum" if value.is_number() && value.as_f64() < what.as_f64() => {
                    wrong.push(format!("{at}: below {what}"));
                }
                "type" => {
                    let is = |kind: &Value| match kind.as_str().unwrap() {
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "string" => value.is_string(),
                        "boolean" => value.is_boolean(),
                        "integer" => value.is_u64() || value.is_i64(),
                        "null" => value.is_null(),
                        kind => panic!("the test does not know the type {kind}"),
                    };
                    let is_right = what.as_array().map_or_else(|| is(what), |kinds| kinds.iter().any(is));
                    if !is_right {
                        wrong.push(format!("{at}: not of type {what}"));
                    }
                }
                "required" => {
                    let missing =
                        what.as_array().unwrap().iter().filter(|name| value.get(name.as_str().unwrap()).is_none());
                    wrong.extend(missing.map(|name| format!("{at}: {name} is missing")));
                }
                "properties" => {
                    for (name, schema) in what.as_object().unwrap() {
                        let field = value.get(name);
                        wrong.extend(
                            field.into_iter().flat_map(|field| problems(root, schema, field, &format!("{at}/{name}"))),
                        );
                    }
                }
                "additionalProperties" => {
                    let known = &schema["properties"];
                    let others = value.as_object().into_iter().flatten().filter(|(name, _)| known.get(name).is_none());
                    wrong.extend(others.flat_map(|(name, field)| problems(root, what, field, &format!("{at}/{name}"))));
                }
                "items" => {
                    let items = value.as_array().into_iter().flatten().enumerate();
                    wrong.extend(items.flat_map(|(index, item)| problems(root, what, item, &format!("{at}/{index}"))));
                }
                _ => {}
            }
        }
        wrong
    }

    /// Where values lie that the schema has no word for. Follows references, and every alternative of a choice.
    fn undescribed(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let mut alternatives = vec![schema];
        let mut known: Vec<&Value> = Vec::new();
        while let Some(schema) = alternatives.pop() {
            if let Some(reference) = schema["$ref"].as_str() {
                alternatives.push(root.pointer(&reference[1..]).unwrap());
            }
            for key in ["oneOf", "anyOf", "allOf"] {
                alternatives.extend(schema[key].as_array().into_iter().flatten());
            }
            known.push(schema);
        }
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| {
                    let at = format!("{at}/{name}");
                    let of = |schema: &&Value| {
                        let described = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                        described.filter(|schema| schema.is_object()).cloned()
                    };
                    let described: Vec<_> = known.iter().filter_map(of).collect();
                    if described.is_empty() {
                        return vec![at];
                    }
                    undescribed(root, &serde_json::json!({ "anyOf": described }), value, &at)
                })
                .collect(),
            Value::Array(items) => {
                let described: Vec<_> = known.iter().filter_map(|schema| schema.get("items")).cloned().collect();
                let schema = serde_json::json!({ "anyOf": described });
                let all = items.iter().enumerate();
                all.flat_map(|(index, item)| undescribed(root, &schema, item, &format!("{at}/{index}"))).collect()
            }
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_schema_describes_what_is_written_and_nothing_else() {
        let reports = [passed_report(), failed_report(), degraded_report()];
        let json = serde_json::to_value(JsonReports::of(&reports)).unwrap();
        let schema = serde_json::to_value(schema()).unwrap();
        let wrong = problems(&schema, &schema, &json, "");
        assert!(wrong.is_empty(), "{wrong:#?}");
        // It says no to what is none.
        for (pointer, wrong) in [
            ("/verdict", serde_json::json!("great")),
            ("/runs/0/steps/0/number", serde_json::json!("one")),
            ("/runs/2/ledger/0/delivered/p99_us", serde_json::json!(-1)),
            ("/runs/0/cost", serde_json::json!({})),
            ("/runs/1/audit/findings/0/kind", serde_json::json!("mislaid")),
        ] {
            let mut json = json.clone();
            *json.pointer_mut(pointer).unwrap() = wrong;
            assert_ne!(problems(&schema, &schema, &json, ""), Vec::<String>::new(), "{pointer}");
        }
        // Every field that is written is described.
        let undescribed = undescribed(&schema, &schema, &json, "");
        assert!(undescribed.is_empty(), "{undescribed:#?}");
    }
}
