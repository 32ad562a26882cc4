//! The whole run in one strip: sends by what became of them, marks, faults, breaches.

use super::drawing::{MARGIN, breaches, name, percent};
use super::lanes::{AcrossKind, Lanes};
use super::markup::Markup;
use super::{clock, counted};
use crate::history::excerpt;

/// Most characters of a mark in the strip.
const LABEL_CHARS: usize = 24;
/// Least distance of two labels in the strip, in percent.
const LABEL_DISTANCE: f64 = 15.0;

/// The run from its beginning to its end: sends by what became of them, marks, faults, breaches.
pub(super) fn strip(page: &mut Markup, lanes: &Lanes<'_>) {
    let end_us = lanes.end_us.max(1);
    let place = |us: u64| MARGIN + (100.0 - 2.0 * MARGIN) * (us.min(end_us) as f64 / end_us as f64);
    let label = format!("The whole run, {}: {} by their state", clock(end_us), counted(lanes.total, "message"));
    page.raw("<svg class=\"strip\" role=\"img\"").attr("aria-label", &label).raw(">");
    for fault in &lanes.faults {
        let (from, to) = (place(fault.from_us), place(fault.to_us));
        page.raw("<rect class=\"fault\" y=\"20\" height=\"44\"").attr("x", &percent(from));
        page.attr("width", &percent((to - from).max(0.15)));
        let (from, to) = (clock(fault.from_us), clock(fault.to_us));
        page.attr("data-t", &format_args!("fault {}\nfrom {from} to {to}", fault.name)).raw("/>");
    }
    page.raw("<line class=\"base\" x1=\"2%\" x2=\"98%\" y1=\"64.5\" y2=\"64.5\"/>");
    for quarter in 0..=4_u64 {
        let at_us = end_us / 4 * quarter;
        let anchor = ["start", "middle", "middle", "middle", "end"][quarter as usize];
        page.raw("<text class=\"tick\" y=\"79\"").attr("x", &percent(place(at_us))).attr("text-anchor", anchor);
        page.raw(">").text(&clock(at_us)).raw("</text>");
    }
    for at_us in &lanes.undrawn_us {
        let at = percent(place(*at_us));
        page.raw("<line class=\"send undrawn\" y1=\"42\" y2=\"58\"").attr("x1", &at).attr("x2", &at);
        page.attr("data-t", &format_args!("sent at about {}\nno lane here", clock(*at_us))).raw("/>");
    }
    // What is wrong lies on top.
    let mut drawn: Vec<_> = lanes.drawn.iter().collect();
    drawn.sort_by_key(|lane| (lane.is_wrong(), lane.start_us));
    for lane in drawn {
        let at = percent(place(lane.start_us));
        page.raw("<line y1=\"34\" y2=\"58\"").attr("class", &format_args!("send s-{}", lane.state.class()));
        page.attr("x1", &at).attr("x2", &at);
        page.attr("data-t", &format_args!("{}\n{}, sent at {}", name(lane, 60), lane.outline(), clock(lane.start_us)));
        page.raw("/>");
        if !lane.breaches.is_empty() {
            page.raw("<use href=\"#shape-breach\" class=\"breach\" y=\"27\"").attr("x", &at);
            page.attr("data-t", &format_args!("{}\n{}", name(lane, 60), breaches(lane))).raw("/>");
        }
    }
    let mut last_label = f64::MIN;
    for one in &lanes.across {
        let at = place(one.at_us);
        let class = one.kind.name();
        page.raw("<line y1=\"20\" y2=\"64\"").attr("class", &format_args!("across {class}"));
        page.attr("x1", &percent(at)).attr("x2", &percent(at));
        page.attr("data-t", &format_args!("{class} at {}\n{}", clock(one.at_us), one.text)).raw("/>");
        if one.kind == AcrossKind::Mark && at - last_label >= LABEL_DISTANCE {
            last_label = at;
            let anchor = if at > 100.0 - LABEL_DISTANCE { "end" } else { "start" };
            page.raw("<text class=\"label\" y=\"13\"").attr("x", &percent(at)).attr("text-anchor", anchor);
            page.raw(">").text(&excerpt(&one.text, LABEL_CHARS)).raw("</text>");
        }
    }
    page.raw("</svg>\n");
}
