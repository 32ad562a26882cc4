//! What each fault did against what is promised meanwhile, and what the run cost itself.

use super::markup::Markup;
use super::{Run, grouped, micros};
use crate::latency::Percentile;
use crate::ledger::Kept;
use crate::report::cost::{kept_up, spent};
use crate::report::ledger::{name, seen};

/// A row for each fault. Nothing where there were none.
pub(super) fn ledger(page: &mut Markup, run: &Run<'_>) {
    let rows = &run.report.ledger.rows;
    if rows.is_empty() {
        return;
    }
    page.raw(
        "<section><h3>Faults and promises</h3>\n<table class=\"ledger\"><thead><tr><th scope=\"col\">Promise</th>",
    );
    page.raw("<th scope=\"col\">Fault</th><th scope=\"col\" class=\"num\">Sends</th>");
    page.raw("<th scope=\"col\" class=\"num\">p50</th><th scope=\"col\" class=\"num\">p99</th>");
    page.raw("<th scope=\"col\" class=\"num\">max</th><th scope=\"col\" class=\"num\">p99 without</th>");
    page.raw("<th scope=\"col\" class=\"num\">Delivers in</th><th scope=\"col\" class=\"num\">Caught up</th>");
    page.raw("</tr></thead><tbody>\n");
    for row in rows {
        let (class, word) = match row.verdict {
            Kept::Kept => ("good", "✓ kept"),
            Kept::Broken if row.fails_run => ("bad", "✗ broken"),
            Kept::Broken => ("warn", "! broken, shown only"),
            Kept::NotExercised => ("faint", "– not exercised"),
        };
        page.raw("<tr").attr("class", class).raw("><td class=\"outcome\">").raw(word);
        page.raw("</td><th scope=\"row\">").words(&name(row));
        page.raw("<dl class=\"why\"><dt>Promised</dt><dd>").raw(row.promise).raw("</dd>");
        if row.sends > 0 {
            page.raw("<dt>Seen</dt><dd>").text(&seen(row)).raw("</dd>");
        }
        if !row.beside.is_empty() {
            let beside: Vec<_> = row.beside.iter().map(String::as_str).collect();
            page.raw("<dt>Beside</dt><dd>").words(&beside.join(", ")).raw("</dd>");
        }
        for breach in &row.breaches {
            let class = if breach.fails_run { "bad" } else { "warn" };
            page.raw("<dt>Broken</dt><dd").attr("class", class).raw(">").words(&breach.sentence).raw("</dd>");
        }
        let more = row.broken.saturating_sub(row.breaches.len() as u64);
        if more > 0 {
            page.raw("<dt>Broken</dt><dd>and ").text(&grouped(&more)).raw(" times more</dd>");
        }
        page.raw("</dl></th><td class=\"num\">").text(&grouped(&row.sends)).raw("</td>");
        let with_it = [Percentile::P50, Percentile::P99, Percentile::MAX].map(|at| row.delivered.at(at));
        let rest =
            [row.delivered_without.at(Percentile::P99), row.recovery.first_delivered_us, row.recovery.caught_up_us];
        for us in with_it.into_iter().chain(rest) {
            let us = us.map_or_else(|| "–".to_owned(), micros);
            page.raw("<td class=\"num\">").text(&us).raw("</td>");
        }
        page.raw("</tr>\n");
    }
    page.raw("</tbody></table></section>\n");
}

/// Where the run's own time went, and whether the harness kept up.
pub(super) fn cost(page: &mut Markup, run: &Run<'_>) {
    let cost = &run.report.cost;
    page.raw("<section><h3>Own cost</h3>\n<dl class=\"facts\">");
    for (what, us) in spent(cost).into_iter().filter(|(_, us)| *us > 0) {
        page.raw("<div><dt>").raw(what).raw("</dt><dd>").text(&micros(us)).raw("</dd></div>");
    }
    page.raw("</dl>\n<p class=\"note\">").text(&kept_up(cost)).raw("</p></section>\n");
}
