//! The degradation ledger as text: a line for each fault, what was promised and seen below it, and each broken promise.

use super::paint::{Paint, Tone};
use super::{micros, put};
use crate::latency::{Distribution, Percentile};
use crate::ledger::{Kept, Ledger, Row};

/// Columns of a fault's name.
const NAME_COLUMNS: usize = 32;
/// Most rows in one table; the other reports have all.
const ROWS_MAX: usize = 100;

/// How much is said of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One line, and what was broken.
    Figures,
    /// What is promised and what was seen as well.
    Everything,
}

/// The table. Every line ends with a line feed; nothing at all where there were no faults.
pub fn ledger_text(ledger: &Ledger, detail: Detail, paint: Paint) -> String {
    if ledger.rows.is_empty() {
        return String::new();
    }
    let heading = format!(
        "{:<NAME_COLUMNS$}{:>6}{:>11}{:>11}{:>11}{:>12}{:>13}{:>12}   {}",
        "Faults", "sends", "p50", "p99", "max", "p99 without", "delivers in", "caught up", "promise"
    );
    let mut text = format!("{}\n", paint.paint(Tone::Strong, &heading));
    for row in ledger.rows.iter().take(ROWS_MAX) {
        fault(&mut text, row, detail, paint);
    }
    if let Some(more) = ledger.rows.len().checked_sub(ROWS_MAX).filter(|more| *more > 0) {
        put(&mut text, format_args!("and {more} more faults\n"));
    }
    text
}

fn fault(text: &mut String, row: &Row, detail: Detail, paint: Paint) {
    let at = |distribution: &Distribution, percentile| or_none(distribution.at(percentile));
    let (sign, tone) = match row.verdict {
        Kept::Kept => ("✓", Tone::Good),
        Kept::Broken if row.fails_run => ("✗", Tone::Bad),
        Kept::Broken => ("!", Tone::Warn),
        Kept::NotExercised => ("-", Tone::Faint),
    };
    let verdict = paint.paint(tone, &format!("{sign} {}", row.verdict.as_str()));
    put(
        text,
        format_args!(
            "{:<NAME_COLUMNS$}{:>6}{:>11}{:>11}{:>11}{:>12}{:>13}{:>12}   {verdict}\n",
            name(row),
            row.sends,
            at(&row.delivered, Percentile::P50),
            at(&row.delivered, Percentile::P99),
            at(&row.delivered, Percentile::MAX),
            at(&row.delivered_without, Percentile::P99),
            or_none(row.recovery.first_delivered_us),
            or_none(row.recovery.caught_up_us),
        ),
    );
    if detail == Detail::Everything {
        put(text, format_args!("  {}\n", paint.paint(Tone::Faint, &format!("promised: {}", row.promise))));
    }
    if detail == Detail::Everything && row.sends > 0 {
        put(text, format_args!("  {}\n", paint.paint(Tone::Faint, &format!("seen:     {}", seen(row)))));
    }
    for breach in &row.breaches {
        let tone = if breach.fails_run { Tone::Bad } else { Tone::Warn };
        put(text, format_args!("  {}\n", paint.paint(tone, &format!("{sign} {}", breach.sentence))));
    }
    let more = row.broken.saturating_sub(row.breaches.len() as u64);
    if more > 0 {
        put(text, format_args!("  and {more} more\n"));
    }
}

/// `kafka hang`, `redis latency ×12`.
pub fn name(row: &Row) -> String {
    let name = format!("{} {}", row.dependency, row.fault);
    if row.times > 1 { format!("{name} ×{}", row.times) } else { name }
}

/// What became of the sends, and what was made up for.
pub fn seen(row: &Row) -> String {
    let mut parts: Vec<_> = row.outcomes.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let recovery = row.recovery;
    let after = [(recovery.persisted, "persisted"), (recovery.indexed, "indexed"), (recovery.verified, "verified")];
    let after: Vec<_> =
        after.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if !after.is_empty() {
        parts.push(format!("afterwards {}", after.join(", ")));
    }
    if recovery.open > 0 {
        parts.push(format!("{} never caught up", recovery.open));
    }
    if row.until_us.is_none() {
        parts.push("never healed".to_owned());
    }
    parts.join(", ")
}

fn or_none(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures::degraded_report;

    #[test]
    fn without_faults_there_is_no_table() {
        assert_eq!(ledger_text(&Ledger::default(), Detail::Everything, Paint::OFF), "");
    }

    #[test]
    fn a_fault_is_what_was_promised_and_what_was_seen() {
        let said = ledger_text(&degraded_report().ledger, Detail::Everything, Paint::OFF);
        let expected = "\
Faults                           sends        p50        p99        max p99 without  delivers in   caught up   promise
search outage                        2    4.00 ms    4.00 ms    4.00 ms     2.00 ms      20.0 ms      260 ms   ✗ broken
  promised: nothing done with messages is slower or different; what was missed is indexed afterwards
  seen:     1 delivered, 1 internal, afterwards 1 indexed
  ✗ \"never\" was refused with `internal`, which is not promised
redis latency 200 ms                 0          -          -          -     2.00 ms            -           -   - not exercised
  promised: nothing is different; who may post is asked of the store
kafka outage                         1          -          -          -     2.00 ms            -           -   ✓ kept
  promised: refused and retryable (log_unavailable, outcome_unknown); what the log has all the same supersedes that
  seen:     1 log_unavailable, never healed
";
        assert_eq!(said, expected, "\n{said}");
        let figures = ledger_text(&degraded_report().ledger, Detail::Figures, Paint::OFF);
        assert_eq!(figures.lines().count(), 5, "\n{figures}");
        assert!(!figures.contains("promised: ") && figures.contains("  ✗ \"never\""), "\n{figures}");
    }
}
