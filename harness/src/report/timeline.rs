//! The timeline of a run as text: a lane for each message, its states as bars against the time since it was sent.
//!
//! The axis is logarithmic, because a `pending` of 0.2 ms and a `persisted` of 200 ms must both be readable
//! and both budgets must have their place.

use ackscope_protocol::ids::{MessageId, UserId};
use ackscope_protocol::limits::{DELIVERED_BUDGET_MS, PENDING_BUDGET_MS};
use ackscope_protocol::wire::AckState;

use super::paint::{Paint, Tone};
use crate::history::{History, MessageHistory, excerpt};
use crate::report::{micros, put};

/// Columns of one decade of time.
const DECADE_COLUMNS: usize = 10;
/// Where the axis begins, in microseconds: what is faster stands in the first column.
const FIRST_US: u64 = 100;
/// Most lanes; a run with more is for the app.
const LANES_MAX: usize = 200;
/// Columns of a sender's name.
const SENDER_COLUMNS: usize = 10;
/// Columns of a message's text.
const TEXT_COLUMNS: usize = 26;

/// Draws the timeline. Every line ends with a line feed.
pub fn timeline(history: &History, paint: Paint) -> String {
    let lanes: Vec<_> = history.messages.iter().filter(|message| !message.sent_us.is_empty()).collect();
    if lanes.is_empty() {
        return "Timeline: no messages\n".to_owned();
    }
    let longest = lanes.iter().filter_map(|message| last_us(message)).max().unwrap_or(0);
    let axis = Axis::up_to(longest);
    let mut text = axis.header(paint);
    for message in lanes.iter().take(LANES_MAX) {
        lane(&mut text, &axis, message, paint);
    }
    if let Some(more) = lanes.len().checked_sub(LANES_MAX).filter(|more| *more > 0) {
        put(&mut text, format_args!("{more} more messages are in the recording\n"));
    }
    text.push_str(&legend(paint));
    text
}

/// The lanes of some messages alone, at most `max` of them, against an axis of their own; nothing where none of them
/// was sent. Every line ends with a line feed.
pub fn lanes_of(history: &History, wanted: &[MessageId], max: usize, paint: Paint) -> String {
    let is_wanted = |message: &&MessageHistory| !message.sent_us.is_empty() && wanted.contains(&message.message_id);
    let lanes: Vec<_> = history.messages.iter().filter(is_wanted).collect();
    let Some(longest) = lanes.iter().map(|message| last_us(message).unwrap_or(0)).max() else { return String::new() };
    let axis = Axis::up_to(longest);
    let mut text = axis.header(paint);
    for message in lanes.iter().take(max) {
        lane(&mut text, &axis, message, paint);
    }
    if let Some(more) = lanes.len().checked_sub(max).filter(|more| *more > 0) {
        put(&mut text, format_args!("{more} more messages are in the timeline\n"));
    }
    text
}

/// Time since the first send until the last thing a lane shows.
fn last_us(message: &MessageHistory) -> Option<u64> {
    let sent = *message.sent_us.first()?;
    let acks = message.acks.iter().map(|seen| seen.at_us);
    let seen = message.seen.iter().map(|receipt| receipt.at_us);
    acks.chain(seen).max().map(|at| at.saturating_sub(sent))
}

struct Axis {
    decades: usize,
}

impl Axis {
    /// At least to one second, so that both budgets and something beyond them are on every axis.
    fn up_to(longest_us: u64) -> Self {
        let mut decades = 4;
        while decades < 9 && FIRST_US.saturating_mul(10_u64.pow(decades as u32)) < longest_us {
            decades += 1;
        }
        Self { decades }
    }

    fn columns(&self) -> usize {
        self.decades * DECADE_COLUMNS + 1
    }

    fn column(&self, us: u64) -> usize {
        let decades = (us.max(FIRST_US) as f64 / FIRST_US as f64).log10();
        ((decades * DECADE_COLUMNS as f64).round() as usize).min(self.columns() - 1)
    }

    fn is_budget(&self, column: usize) -> bool {
        [PENDING_BUDGET_MS, DELIVERED_BUDGET_MS].iter().any(|ms| self.column(ms * 1_000) == column)
    }

    fn header(&self, paint: Paint) -> String {
        let margin = " ".repeat(SENDER_COLUMNS + TEXT_COLUMNS + 2);
        let mut labels = String::new();
        let mut rule = String::new();
        for decade in 0..=self.decades {
            let us = FIRST_US * 10_u64.pow(decade as u32);
            let label = if us < 1_000 {
                "0.1 ms".to_owned()
            } else if us < 1_000_000 {
                format!("{} ms", us / 1_000)
            } else {
                format!("{} s", us / 1_000_000)
            };
            put(&mut labels, format_args!("{label:<DECADE_COLUMNS$}"));
            let column = decade * DECADE_COLUMNS;
            rule.push(match (self.is_budget(column), decade) {
                (true, _) => '┃',
                (false, 0) => '├',
                (false, last) if last == self.decades => '┤',
                (false, _) => '┼',
            });
            if decade < self.decades {
                rule.push_str(&"─".repeat(DECADE_COLUMNS - 1));
            }
        }
        let title = format!("{:<width$}", "Time since sent", width = margin.len());
        format!(
            "{}{}\n{margin}{}\n",
            paint.paint(Tone::Strong, &title),
            paint.paint(Tone::Faint, labels.trim_end()),
            paint.paint(Tone::Faint, &rule)
        )
    }
}

/// What stands in one column of a lane.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cell {
    sign: char,
    tone: Tone,
}

fn lane(text: &mut String, axis: &Axis, message: &MessageHistory, paint: Paint) {
    let sent = message.sent_us.first().copied().unwrap_or_default();
    let sender = message.sender.as_ref().map_or("?", UserId::as_str);
    let since = |at: u64| at.saturating_sub(sent);
    let first = |state: AckState| {
        message
            .acks
            .iter()
            .find(|seen| seen.ack.state == state && Some(&seen.user) == message.sender.as_ref())
            .map(|seen| (since(seen.at_us), seen))
    };
    let pending = first(AckState::Pending).map(|(at, _)| at);
    let delivered = first(AckState::Delivered).map(|(at, _)| at);
    let persisted = first(AckState::Persisted).map(|(at, _)| at);
    let rejected = first(AckState::Rejected);

    let blank = Cell { sign: ' ', tone: Tone::Plain };
    let mut cells = vec![blank; axis.columns()];
    for (column, cell) in cells.iter_mut().enumerate() {
        if axis.is_budget(column) {
            *cell = Cell { sign: '┊', tone: Tone::Faint };
        }
    }
    // Each state is drawn until the next begins; the final one is a single cell where it began.
    let outcome = delivered.or(rejected.as_ref().map(|(at, _)| *at));
    let last = persisted.or(outcome).or(pending);
    let bars = [
        (Some(0), pending.or(last), '·', Tone::Faint),
        (pending, outcome, '░', Tone::Pending),
        (delivered, persisted, '▒', Tone::Delivered),
    ];
    for (from, to, sign, tone) in bars {
        if let (Some(from), Some(to)) = (from, to) {
            cells[axis.column(from)..axis.column(to)].fill(Cell { sign, tone });
        }
    }
    if let Some((at, _)) = rejected.as_ref().filter(|_| delivered.is_none()) {
        cells[axis.column(*at)] = Cell { sign: '✗', tone: Tone::Rejected };
    } else if let Some(at) = persisted {
        cells[axis.column(at)] = Cell { sign: '█', tone: Tone::Persisted };
    } else if let Some(at) = delivered {
        cells[axis.column(at)] = Cell { sign: '▒', tone: Tone::Delivered };
    } else if let Some(at) = pending {
        cells[axis.column(at)] = Cell { sign: '?', tone: Tone::Warn };
    }

    let (state, tone) = match (&rejected, delivered, persisted, pending) {
        (_, _, Some(at), _) => (format!("persisted {}", micros(at)), Tone::Persisted),
        (_, Some(at), None, _) => (format!("delivered {}", micros(at)), Tone::Delivered),
        (Some((at, seen)), None, None, _) => {
            let code = seen.ack.error.as_ref().map_or("", |error| error.code.as_str());
            (format!("rejected {code} {}", micros(*at)), Tone::Rejected)
        }
        (None, None, None, Some(_)) => ("pending, no outcome".to_owned(), Tone::Warn),
        (None, None, None, None) => ("no answer".to_owned(), Tone::Warn),
    };
    let mut extra = String::new();
    match message.sent_us.len() {
        0 | 1 => {}
        2 => extra.push_str(", sent twice"),
        count => put(&mut extra, format_args!(", sent {count} times")),
    }
    let over = [(pending, "pending", PENDING_BUDGET_MS), (outcome, "outcome", DELIVERED_BUDGET_MS)]
        .into_iter()
        .filter_map(|(at, what, budget)| {
            at.filter(|at| *at > budget * 1_000).map(|at| format!(", {what} late: {}", micros(at)))
        })
        .collect::<String>();

    let what = message.text.as_deref().unwrap_or("(no text)");
    put(
        text,
        format_args!(
            "{:<SENDER_COLUMNS$} {:<TEXT_COLUMNS$} ",
            excerpt(sender, SENDER_COLUMNS),
            excerpt(what, TEXT_COLUMNS)
        ),
    );
    text.push_str(&row(&cells, paint));
    put(text, format_args!("  {}{extra}{}\n", paint.paint(tone, &state), paint.paint(Tone::Bad, &over)));

    receipts(text, axis, message, sent, paint);
}

/// The row below a lane: when the others saw it.
fn receipts(text: &mut String, axis: &Axis, message: &MessageHistory, sent: u64, paint: Paint) {
    let mut seen: Vec<_> =
        message.seen.iter().filter(|receipt| Some(&receipt.user) != message.sender.as_ref()).collect();
    if seen.is_empty() {
        return;
    }
    seen.sort_by_key(|receipt| receipt.at_us);
    let mut cells = vec![Cell { sign: ' ', tone: Tone::Plain }; axis.columns()];
    for receipt in &seen {
        cells[axis.column(receipt.at_us.saturating_sub(sent))] = Cell { sign: '▽', tone: Tone::Faint };
    }
    let names: Vec<_> = seen
        .iter()
        .take(4)
        .map(|receipt| format!("{} {}", receipt.user, micros(receipt.at_us.saturating_sub(sent))))
        .collect();
    let mut names = format!("seen by {}", names.join(", "));
    if seen.len() > 4 {
        put(&mut names, format_args!(" and {} more", seen.len() - 4));
    }
    let margin = " ".repeat(SENDER_COLUMNS + TEXT_COLUMNS + 2);
    put(text, format_args!("{margin}{}  {}\n", row(&cells, paint), paint.paint(Tone::Faint, &names)));
}

/// The cells as text, painted in runs of one tone.
fn row(cells: &[Cell], paint: Paint) -> String {
    let mut text = String::new();
    for run in cells.chunk_by(|one, other| one.tone == other.tone) {
        let signs: String = run.iter().map(|cell| cell.sign).collect();
        text.push_str(&paint.paint(run[0].tone, &signs));
    }
    text
}

fn legend(paint: Paint) -> String {
    let sign = |tone, sign: &str, name: &str| format!("{} {name}", paint.paint(tone, sign));
    let signs = [
        sign(Tone::Faint, "·", "sent"),
        sign(Tone::Pending, "░", "pending"),
        sign(Tone::Delivered, "▒", "delivered"),
        sign(Tone::Persisted, "█", "persisted"),
        sign(Tone::Rejected, "✗", "rejected"),
        sign(Tone::Faint, "▽", "received"),
        sign(Tone::Faint, "┊", &format!("budgets: pending {PENDING_BUDGET_MS} ms, outcome {DELIVERED_BUDGET_MS} ms")),
    ];
    format!("{}\n", signs.join("   "))
}

#[cfg(test)]
mod tests {
    use ackscope_protocol::ErrorCode;

    use super::*;
    use crate::fixtures::Trace;

    #[test]
    fn the_timeline_of_a_small_run() {
        let mut trace = Trace::new(&["ana", "ben", "cleo", "mallory"]);
        let hello = trace.send_at(1_000, "ana", "Who brings the tent?");
        trace.pending_at(1_300, &hello);
        trace.delivered_at(3_000, &hello, 1);
        trace.seen_at(3_100, "ben", &hello);
        trace.seen_at(4_200, "cleo", &hello);
        trace.persisted_at(21_000, &hello);
        let slow = trace.send_at(50_000, "ben", "A rather long answer that does not fit");
        trace.pending_at(65_000, &slow);
        trace.retry_at(70_000, &slow);
        trace.delivered_at(250_000, &slow, 2);
        let stranger = trace.send_at(300_000, "mallory", "Let me in");
        trace.pending_at(300_200, &stranger);
        trace.rejected_at(301_000, &stranger, ErrorCode::NotFound);
        trace.send_at(400_000, "ana", "Anybody?");
        let drawn = timeline(&History::of(&trace.events), Paint::OFF);
        let expected = "\
Time since sent                       0.1 ms    1 ms      10 ms     100 ms    1 s
                                      ├─────────┼─────────┃─────────┃─────────┤
ana        Who brings the tent?       ·····░░░░░░░░▒▒▒▒▒▒▒▒▒▒█      ┊            persisted 20.0 ms
                                                   ▽ ▽                           seen by ben 2.10 ms, cleo 3.20 ms
ben        A rather long answer that… ······················░░░░░░░░░░░▒         delivered 200 ms, sent twice, pending late: 15.0 ms, outcome late: 200 ms
mallory    Let me in                  ···░░░░░░░✗         ┊         ┊            rejected not_found 1.00 ms
ana        Anybody?                                       ┊         ┊            no answer
· sent   ░ pending   ▒ delivered   █ persisted   ✗ rejected   ▽ received   ┊ budgets: pending 10 ms, outcome 100 ms
";
        assert_eq!(drawn, expected, "\n{drawn}");
    }

    #[test]
    fn a_run_without_messages_says_so() {
        assert_eq!(
            timeline(&History::of::<ackscope_protocol::trace::TraceEvent>(&[]), Paint::OFF),
            "Timeline: no messages\n"
        );
    }

    #[test]
    fn a_long_wait_widens_the_axis_and_nothing_leaves_it() {
        let mut trace = Trace::new(&["ana", "ben"]);
        let slow = trace.send_at(0, "ana", "slow");
        trace.delivered_at(75_000_000, &slow, 1);
        let drawn = timeline(&History::of(&trace.events), Paint::OFF);
        assert!(drawn.contains("100 s"), "{drawn}");
        assert!(Axis::up_to(u64::MAX).column(u64::MAX) < Axis::up_to(u64::MAX).columns());
    }
}
