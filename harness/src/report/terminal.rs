//! What a person reads in the terminal: step by step while the run goes, then timeline, figures and verdict.

use std::io::{self, Write};
use std::time::Duration;

use super::cost::cost_text;
use super::ledger::{Detail, ledger_text};
use super::paint::{Paint, Tone};
use super::timeline::{lanes_of, timeline};
use super::{micros, put};
use crate::audit::{Audit, Promises};
use crate::history::History;
use crate::latency::{BudgetResult, Latencies, Measure};
use crate::scenario::outcome::{RunReport, StepOutcome, StepResult, Verdict};
use crate::scenario::period::short;

/// Columns a step's title is filled up to, so that the times stand below each other.
const TITLE_COLUMNS: usize = 72;
/// Most findings that are printed; the JSON report has all.
const FINDINGS_SHOWN: usize = 20;
/// Most lanes that are drawn below one step that failed.
const LANES_OF_A_STEP: usize = 5;

/// Writes a run as it goes.
pub struct TerminalReport<W: Write> {
    out: W,
    paint: Paint,
}

impl<W: Write> TerminalReport<W> {
    /// Writes to `out`, painted as `paint` says.
    pub fn new(out: W, paint: Paint) -> Self {
        Self { out, paint }
    }

    /// What runs, on what.
    pub fn heading(&mut self, scenario: &str, about: Option<&str>, environment: &str) -> io::Result<()> {
        writeln!(self.out, "{}", self.paint.paint(Tone::Strong, scenario))?;
        if let Some(about) = about {
            for line in about.lines() {
                writeln!(self.out, "{}", self.paint.paint(Tone::Faint, line))?;
            }
        }
        writeln!(self.out, "{}", self.paint.paint(Tone::Faint, environment))?;
        self.out.flush()
    }

    /// A step that was done.
    pub fn step(&mut self, step: &StepResult) -> io::Result<()> {
        if step.is_mark {
            writeln!(self.out, "\n{}", self.paint.paint(Tone::Strong, &step.title))?;
            return self.out.flush();
        }
        let (sign, tone) = match step.outcome {
            StepOutcome::Passed => ("✓", Tone::Good),
            StepOutcome::Failed { .. } => ("✗", Tone::Bad),
            StepOutcome::Inconclusive { .. } => ("?", Tone::Warn),
            StepOutcome::Skipped => ("-", Tone::Faint),
        };
        let took = if step.outcome == StepOutcome::Skipped { String::new() } else { micros(step.took_us) };
        let title = format!("{:<TITLE_COLUMNS$}", step.title);
        let line = format!("  {} {title} {}", self.paint.paint(tone, sign), self.paint.paint(Tone::Faint, &took));
        writeln!(self.out, "{}", line.trim_end())?;
        match &step.outcome {
            StepOutcome::Failed { expected, found } => {
                writeln!(self.out, "      expected {expected}")?;
                writeln!(self.out, "      {}", self.paint.paint(Tone::Bad, &format!("found    {found}")))?;
                writeln!(self.out, "      {}", self.paint.paint(Tone::Faint, &format!("line {}", step.line)))?;
            }
            StepOutcome::Inconclusive { reason } => {
                writeln!(self.out, "      {}", self.paint.paint(Tone::Warn, reason))?;
            }
            StepOutcome::Passed | StepOutcome::Skipped => {}
        }
        self.out.flush()
    }

    /// Everything after the last step.
    pub fn ending(&mut self, report: &RunReport) -> io::Result<()> {
        let history = History::of(&report.events);
        writeln!(self.out, "\n{}", timeline(&history, self.paint))?;
        write!(self.out, "{}", failures_text(&report.steps, &history, self.paint))?;
        write!(self.out, "{}", latency_table(&report.latencies, &report.budgets, self.paint))?;
        writeln!(self.out)?;
        let ledger = ledger_text(&report.ledger, Detail::Everything, self.paint);
        if !ledger.is_empty() {
            writeln!(self.out, "{ledger}")?;
        }
        write!(self.out, "{}", audit_text(&report.audit, self.paint))?;
        write!(self.out, "{}", cost_text(&report.cost, self.paint))?;
        writeln!(self.out)?;
        writeln!(self.out, "{}", verdict_line(report, self.paint))?;
        self.out.flush()
    }
}

/// Every step that failed, with the lanes of the messages it speaks of. Every line ends with a line feed.
fn failures_text(steps: &[StepResult], history: &History, paint: Paint) -> String {
    let mut text = String::new();
    for step in steps {
        let StepOutcome::Failed { expected, found } = &step.outcome else { continue };
        let lanes = lanes_of(history, &step.messages, LANES_OF_A_STEP, paint);
        if lanes.is_empty() {
            continue;
        }
        let heading = format!("Line {} failed: {}", step.line, step.title);
        put(&mut text, format_args!("{}\n", paint.paint(Tone::Bad, &heading)));
        put(&mut text, format_args!("expected {expected}\nfound    {found}\n{lanes}\n"));
    }
    text
}

/// The table of latencies and budgets. Every line ends with a line feed.
pub fn latency_table(latencies: &Latencies, budgets: &[BudgetResult], paint: Paint) -> String {
    let heading = format!(
        "{:<12}{:>8}{:>11}{:>11}{:>11}{:>11}   {}",
        "Latency", "count", "p50", "p99", "p99.9", "max", "budgets"
    );
    let mut text = format!("{}\n", paint.paint(Tone::Strong, &heading));
    for measure in Measure::rows(budgets) {
        let summary = latencies.get(measure).summary();
        let budgets: Vec<_> = budgets.iter().filter(|budget| budget.measure == measure).collect();
        if summary.count == 0 && budgets.is_empty() {
            continue;
        }
        let figures = if summary.count == 0 {
            format!("{:>8}{:>11}{:>11}{:>11}{:>11}", 0, "-", "-", "-", "-")
        } else {
            format!(
                "{:>8}{:>11}{:>11}{:>11}{:>11}",
                summary.count,
                micros(summary.p50_us),
                micros(summary.p99_us),
                micros(summary.p99_9_us),
                micros(summary.max_us)
            )
        };
        let limits: Vec<_> = budgets
            .iter()
            .map(|budget| {
                let limit = short(Duration::from_micros(budget.limit_us));
                let (sign, tone) = if budget.kept { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
                let missing = if budget.measured_us.is_none() { ", nothing was measured" } else { "" };
                paint.paint(tone, &format!("{sign} {} ≤ {limit}{missing}", budget.percentile.name()))
            })
            .collect();
        let line = format!("{:<12}{figures}   {}", measure.as_str(), limits.join("  "));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The audit for people. Every line ends with a line feed.
pub fn audit_text(audit: &Audit, paint: Paint) -> String {
    let Promises { outcomes, published, stored, seen, unseen, ordered, edited, agreed } = audit.promises;
    let checked = format!(
        "{} promises checked: {outcomes} outcomes, {published} published, {stored} stored, {seen} seen, \
         {unseen} unseen, {ordered} in order, {edited} edits, {agreed} in cache and search",
        audit.promises.total()
    );
    let mut text = String::new();
    if audit.promises.total() == 0 {
        put(&mut text, format_args!("{}: there was nothing to check\n", paint.paint(Tone::Strong, "Audit")));
    } else if audit.is_clean() {
        let clean = paint.paint(Tone::Good, "✓ clean");
        put(&mut text, format_args!("{} {clean}; {checked}\n", paint.paint(Tone::Strong, "Audit")));
    } else {
        let broken = match audit.broken {
            1 => "✗ 1 promise broken".to_owned(),
            count => format!("✗ {count} promises broken"),
        };
        put(
            &mut text,
            format_args!("{} {}; {checked}\n", paint.paint(Tone::Strong, "Audit"), paint.paint(Tone::Bad, &broken)),
        );
        for finding in audit.findings.iter().take(FINDINGS_SHOWN) {
            let kind = paint.paint(Tone::Bad, &format!("{:<10}", finding.kind.as_str()));
            put(&mut text, format_args!("  {kind} {}\n", finding.sentence));
            for message in &finding.messages {
                let temp_id = message.temp_id.as_ref().map(|id| format!(", temp_id {id}")).unwrap_or_default();
                let line = format!("             {}{temp_id}", message.message_id);
                put(&mut text, format_args!("{}\n", paint.paint(Tone::Faint, &line)));
            }
        }
        let more = audit.broken.saturating_sub(audit.findings.len().min(FINDINGS_SHOWN) as u64);
        if more > 0 {
            put(&mut text, format_args!("  and {more} more\n"));
        }
    }
    for note in &audit.notes {
        put(&mut text, format_args!("  {}\n", paint.paint(Tone::Warn, &format!("note: {note}"))));
    }
    text
}

/// One line: the verdict and what it rests on.
pub fn verdict_line(report: &RunReport, paint: Paint) -> String {
    let verdict = report.verdict();
    let (word, tone) = match verdict {
        Verdict::Pass => ("PASS", Tone::Good),
        Verdict::Fail => ("FAIL", Tone::Bad),
        Verdict::Inconclusive => ("INCONCLUSIVE", Tone::Warn),
    };
    let steps: Vec<_> = report.steps.iter().filter(|step| !step.is_mark).collect();
    let failed = steps.iter().filter(|step| matches!(step.outcome, StepOutcome::Failed { .. })).count();
    let skipped = steps.iter().filter(|step| step.outcome == StepOutcome::Skipped).count();
    let over = report.budgets.iter().filter(|budget| !budget.kept).count();
    let mut parts = vec![counted(steps.len(), "step")];
    if failed > 0 {
        parts.push(format!("{failed} failed"));
    }
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    parts.push(counted(report.audit.promises.total() as usize, "promise"));
    if report.audit.broken > 0 {
        parts.push(format!("{} broken", report.audit.broken));
    }
    if !report.budgets.is_empty() {
        parts.push(counted(report.budgets.len(), "budget"));
    }
    if over > 0 {
        parts.push(format!("{over} exceeded"));
    }
    let broken = report.ledger.rows.iter().filter(|row| row.fails_run).count();
    if broken > 0 {
        parts.push(format!("{} against its promise", counted(broken, "fault")));
    }
    if let Some(reason) = &report.environment_failed {
        parts.push(reason.clone());
    }
    format!("{}  {}: {} in {}", paint.paint(tone, word), report.scenario, parts.join(", "), micros(report.took_us))
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::{degraded_report, failed_report, passed_report};

    fn written(report: &RunReport) -> String {
        let mut out = Vec::new();
        let mut terminal = TerminalReport::new(&mut out, Paint::OFF);
        terminal
            .heading(&report.scenario, Some("Two people."), "embedded backend, because nothing else was asked for")
            .unwrap();
        for step in &report.steps {
            terminal.step(step).unwrap();
        }
        terminal.ending(report).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_run_that_passed() {
        let said = written(&passed_report());
        let expected = "\
A small talk
Two people.
embedded backend, because nothing else was asked for

Hello
  ✓ ana sends \"hello\" to talk                                                2.00 ms
  ✓ ben saw exactly: hello                                                   0.40 ms

Time since sent                       0.1 ms    1 ms      10 ms     100 ms    1 s
                                      ├─────────┼─────────┃─────────┃─────────┤
ana        hello                      ·····░░░░░░░░▒▒▒▒▒▒▒▒▒▒█      ┊            persisted 20.0 ms
                                                   ▽                             seen by ben 2.10 ms
· sent   ░ pending   ▒ delivered   █ persisted   ✗ rejected   ▽ received   ┊ budgets: pending 10 ms, outcome 100 ms

Latency        count        p50        p99      p99.9        max   budgets
pending            1    0.30 ms    0.30 ms    0.30 ms    0.30 ms   ✓ p99 ≤ 10 ms
delivered          1    2.00 ms    2.00 ms    2.00 ms    2.00 ms   ✓ p99 ≤ 100 ms
received           1    2.10 ms    2.10 ms    2.10 ms    2.10 ms
persisted          1    20.0 ms    20.0 ms    20.0 ms    20.0 ms

Audit ✓ clean; 8 promises checked: 1 outcomes, 0 published, 1 stored, 1 seen, 1 unseen, 3 in order, 1 edits, 0 in cache and search
Own cost  environment 40.0 ms, node 12.0 ms, users 9.00 ms, steps 2.40 ms, coming to rest 55.0 ms, audit 1.50 ms
          timers late by 1.10 ms (p50), 2.30 ms (p99), 2.30 ms (max); every event recorded; 64 MiB at most

PASS  A small talk: 2 steps, 8 promises, 2 budgets in 1.50 s
";
        assert_eq!(said, expected, "\n{said}");
    }

    #[test]
    fn a_run_that_failed() {
        let said = written(&failed_report());
        for line in [
            "  ✗ ben saw exactly: hello                                                   0.40 ms",
            "      expected ben to have seen exactly: hello",
            "      found    nothing",
            "      line 7",
            "  - ben sends \"never\" to talk",
            "rejected           0          -          -          -          -   ✗ p99 ≤ 100 ms, nothing was measured",
            "Line 7 failed: ben saw exactly: hello\nexpected ben to have seen exactly: hello\nfound    nothing\nTime since sent",
            "Audit ✗ 1 promise broken; ",
            "  lost       ben never saw ana's \"hello\"",
            "FAIL  A small talk: 3 steps, 1 failed, 1 skipped, 7 promises, 1 broken, 1 budget, 1 exceeded in 1.50 s",
        ] {
            assert!(said.contains(line), "{line}\n is not in\n{said}");
        }
    }

    #[test]
    fn a_fault_that_broke_its_promise_fails_the_run() {
        let said = written(&degraded_report());
        for line in [
            "search outage                        2 ",
            "  ✗ \"never\" was refused with `internal`, which is not promised",
            "FAIL  A small talk: 0 steps, 0 promises, 1 fault against its promise in 1.50 s",
        ] {
            assert!(said.contains(line), "{line}\n is not in\n{said}");
        }
    }
}
