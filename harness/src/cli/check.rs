//! `ackscope check`: refuses or accepts scenarios without running them.

use std::path::Path;

use ackscope_harness::scenario::problem::Refusal;
use ackscope_harness::scenario::{Scenario, ScenarioError, file};
use serde_json::{Value, json};

use super::args::CheckArgs;
use super::{Exit, Outcome, out};

/// Checks the files, or prints the schema.
pub(crate) fn check(args: &CheckArgs) -> Outcome {
    if args.schema {
        out::line(&serde_json::to_string_pretty(file::schema().as_value())?);
        return Ok(Exit::Pass);
    }
    let (scenarios, wrong) = read_all(&args.files);
    if args.json {
        out::json(&json!({ "ok": wrong.is_empty(), "problems": problems_json(&wrong) }))?;
    } else {
        for scenario in &scenarios {
            let (steps, users) = (scenario.file.steps.len(), scenario.file.users.len());
            out::line(&format!("{}: fine ({steps} steps, {users} users)", scenario.file_name));
        }
        print_wrong(&wrong);
    }
    Ok(if wrong.is_empty() { Exit::Pass } else { Exit::Usage })
}

/// Reads every file, and keeps what is wrong with each.
pub(crate) fn read_all(files: &[impl AsRef<Path>]) -> (Vec<Scenario>, Vec<ScenarioError>) {
    let mut scenarios = Vec::new();
    let mut wrong = Vec::new();
    for file in files {
        match Scenario::open(file.as_ref()) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => wrong.push(error),
        }
    }
    (scenarios, wrong)
}

/// Says to a person what is wrong.
pub(crate) fn print_wrong(wrong: &[ScenarioError]) {
    for error in wrong {
        match error {
            ScenarioError::Refused(refusal) => out::note(&refusal.to_string()),
            ScenarioError::Unreadable { .. } => out::error(&error.to_string()),
        }
    }
}

/// Says to a machine what is wrong.
pub(crate) fn problems_json(wrong: &[ScenarioError]) -> Vec<Value> {
    let of_refusal = |refusal: &Refusal| -> Vec<Value> {
        refusal
            .problems()
            .iter()
            .map(|problem| {
                json!({
                    "file": refusal.file_at(problem.place),
                    "line": problem.place.line,
                    "column": problem.place.column,
                    "problem": problem.what,
                    "expected": problem.expected,
                    "nearest": problem.nearest,
                })
            })
            .collect()
    };
    wrong
        .iter()
        .flat_map(|error| match error {
            ScenarioError::Refused(refusal) => of_refusal(refusal),
            ScenarioError::Unreadable { file, reason } => {
                vec![json!({ "file": file, "problem": reason.to_string() })]
            }
        })
        .collect()
}
