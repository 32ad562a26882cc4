//! What a run cost itself, as text.

use super::micros;
use super::paint::{Paint, Tone};
use crate::cost::Cost;

/// Where the time went, in the order of a run.
pub fn spent(cost: &Cost) -> [(&'static str, u64); 7] {
    [
        ("environment", cost.start.environment_us),
        ("node", cost.start.node_us),
        ("users", cost.users_us),
        ("steps", cost.steps_us),
        ("healing", cost.heal_us),
        ("coming to rest", cost.rest_us),
        ("audit", cost.audit_us),
    ]
}

/// Whether the harness kept up, one line.
pub fn kept_up(cost: &Cost) -> String {
    let late = cost.timers_late;
    let timers = match late.count {
        0 => "no timer was looked at".to_owned(),
        _ => format!(
            "timers late by {} (p50), {} (p99), {} (max)",
            micros(late.p50_us),
            micros(late.p99_us),
            micros(late.max_us)
        ),
    };
    let events = match cost.events_missed {
        0 => "every event recorded".to_owned(),
        missed => format!("{missed} events not recorded"),
    };
    let memory = cost.memory_peak_bytes.map(|bytes| format!("; {} MiB at most", bytes.div_ceil(1_048_576)));
    format!("{timers}; {events}{}", memory.unwrap_or_default())
}

/// Two lines. Each ends with a line feed.
pub fn cost_text(cost: &Cost, paint: Paint) -> String {
    let spent: Vec<_> =
        spent(cost).into_iter().filter(|(_, us)| *us > 0).map(|(what, us)| format!("{what} {}", micros(us))).collect();
    let heading = paint.paint(Tone::Strong, "Own cost");
    format!("{heading}  {}\n          {}\n", paint.paint(Tone::Faint, &spent.join(", ")), {
        let tone = if cost.events_missed > 0 { Tone::Warn } else { Tone::Faint };
        paint.paint(tone, &kept_up(cost))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Summary;
    use crate::report::fixtures::passed_report;

    #[test]
    fn two_lines_say_where_the_time_went_and_whether_it_kept_up() {
        let cost = passed_report().cost;
        let expected = "\
Own cost  environment 40.0 ms, node 12.0 ms, users 9.00 ms, steps 2.40 ms, coming to rest 55.0 ms, audit 1.50 ms
          timers late by 1.10 ms (p50), 2.30 ms (p99), 2.30 ms (max); every event recorded; 64 MiB at most
";
        assert_eq!(cost_text(&cost, Paint::OFF), expected);
        let poor = Cost { events_missed: 3, memory_peak_bytes: None, timers_late: Summary::default(), ..cost };
        assert_eq!(kept_up(&poor), "no timer was looked at; 3 events not recorded");
    }
}
