//! Runs as JUnit XML: a suite for each scenario, a case for each step, each budget, each fault and the audit.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::cost::{kept_up, spent};
use super::ledger::{name, seen};
use super::micros;
use crate::ledger::Kept;
use crate::scenario::outcome::{RunReport, StepOutcome};
use crate::scenario::period::short;

/// The XML of some runs.
pub fn junit(reports: &[RunReport]) -> Result<String, quick_junit::SerializeError> {
    let mut xml = Report::new("ackscope");
    for report in reports {
        let mut suite = TestSuite::new(report.scenario.clone());
        suite.set_time(Duration::from_micros(report.took_us));
        for step in report.steps.iter().filter(|step| !step.is_mark) {
            let status = match &step.outcome {
                StepOutcome::Passed => TestCaseStatus::success(),
                StepOutcome::Failed { expected, found } => {
                    not_ok(NonSuccessKind::Failure, &format!("expected {expected}; found {found}"))
                }
                StepOutcome::Inconclusive { reason } => not_ok(NonSuccessKind::Error, reason),
                StepOutcome::Skipped => TestCaseStatus::skipped(),
            };
            let mut case = TestCase::new(format!("{:02} {}", step.number, step.title), status);
            case.set_classname(report.file_name.clone());
            case.set_time(Duration::from_micros(step.took_us));
            suite.add_test_case(case);
        }
        for budget in &report.budgets {
            let limit = short(Duration::from_micros(budget.limit_us));
            let status = match budget.measured_us {
                _ if budget.kept => TestCaseStatus::success(),
                Some(measured) => {
                    not_ok(NonSuccessKind::Failure, &format!("{} is more than {limit}", micros(measured)))
                }
                None => not_ok(NonSuccessKind::Failure, "nothing was measured"),
            };
            let name = format!("budget: {} {} at most {limit}", budget.measure.as_str(), budget.percentile.name());
            let mut case = TestCase::new(name, status);
            case.set_classname(report.file_name.clone());
            suite.add_test_case(case);
        }
        let status = if report.audit.is_clean() {
            TestCaseStatus::success()
        } else {
            let sentences: Vec<_> =
                report.audit.findings.iter().map(|one| format!("{}: {}", one.kind.as_str(), one.sentence)).collect();
            not_ok(NonSuccessKind::Failure, &sentences.join("\n"))
        };
        let mut case = TestCase::new(format!("audit: {} promises", report.audit.promises.total()), status);
        case.set_classname(report.file_name.clone());
        suite.add_test_case(case);
        for row in &report.ledger.rows {
            let status = match row.verdict {
                Kept::NotExercised => TestCaseStatus::skipped(),
                _ if row.fails_run => {
                    let sentences: Vec<_> = row.breaches.iter().map(|breach| breach.sentence.as_str()).collect();
                    not_ok(NonSuccessKind::Failure, &sentences.join("\n"))
                }
                Kept::Kept | Kept::Broken => TestCaseStatus::success(),
            };
            let mut case = TestCase::new(format!("fault: {}", name(row)), status);
            case.set_classname(report.file_name.clone());
            let (verdict, reason) = (row.verdict.as_str(), &row.reason);
            for (name, value) in
                [("promised", row.promise), ("seen", &seen(row)), ("verdict", verdict), ("reason", reason)]
            {
                case.add_property(Property::new(name, value));
            }
            suite.add_test_case(case);
        }
        for (what, us) in spent(&report.cost) {
            suite.add_property(Property::new(format!("{what} ms"), (us / 1_000).to_string()));
        }
        suite.add_property(Property::new("harness", kept_up(&report.cost)));
        if let Some(reason) = &report.environment_failed {
            let mut case = TestCase::new("environment", not_ok(NonSuccessKind::Error, reason));
            case.set_classname(report.file_name.clone());
            suite.add_test_case(case);
        }
        xml.add_test_suite(suite);
    }
    xml.to_string()
}

fn not_ok(kind: NonSuccessKind, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message.to_owned());
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{degraded_report, failed_report, passed_report};

    #[test]
    fn a_ci_reads_steps_budgets_and_audit() {
        let xml = junit(&[passed_report(), failed_report()]).unwrap();
        assert!(xml.contains("tests=\"5\" skipped=\"0\" errors=\"0\" failures=\"0\""), "{xml}");
        assert!(xml.contains("tests=\"5\" skipped=\"1\" errors=\"0\" failures=\"3\""), "{xml}");
        assert!(xml.contains("message=\"expected ben to have seen exactly: hello; found nothing\""), "{xml}");
        assert!(xml.contains("budget: rejected p99 at most 100 ms"), "{xml}");
        assert!(xml.contains("lost: ben never saw ana&apos;s &quot;hello&quot;"), "{xml}");
    }

    #[test]
    fn a_ci_reads_what_faults_did() {
        let xml = junit(&[degraded_report()]).unwrap();
        assert!(xml.contains("tests=\"4\" skipped=\"1\" errors=\"0\" failures=\"1\""), "{xml}");
        for part in [
            "fault: search outage",
            "message=\"&quot;never&quot; was refused with `internal`, which is not promised\"",
            "<property name=\"verdict\" value=\"not exercised\"/>",
            "<property name=\"seen\" value=\"1 log_unavailable, never healed\"/>",
            "<property name=\"coming to rest ms\" value=\"55\"/>",
        ] {
            assert!(xml.contains(part), "{part}\n is not in\n{xml}");
        }
    }
}
