use std::sync::Arc;

use ackscope_protocol::trace::Happening;

use super::*;
use crate::fixtures::Trace;
use crate::report::fixtures::{degraded_report, failed_report, passed_report};
use crate::scenario::outcome::StepOutcome;

fn page(reports: &[RunReport]) -> String {
    html(reports, |index| format!("trace-{index}.jsonl"))
}

/// The elements' names, attributes and texts do not matter, but every one that is opened is closed in its place.
fn assert_well_formed(page: &str) {
    const VOID: [&str; 3] = ["meta", "input", "!DOCTYPE"];
    let body = page.replace(STYLE, "").replace(SCRIPT, "");
    let mut open: Vec<&str> = Vec::new();
    let mut rest = body.as_str();
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "a quote is open in <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> in {open:?}");
        } else {
            let name = tag.split([' ', '/']).next().unwrap();
            if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

/// Nothing that a browser would fetch, and nothing that leads out of the page.
fn assert_self_contained(page: &str) {
    for marker in [" src=", " href=", " action=", " data=", " poster=", " srcset="] {
        for (at, _) in page.match_indices(marker) {
            let value = &page[at + marker.len()..];
            assert!(marker == " href=" && value.starts_with("\"#"), "{}", &page[at..page.len().min(at + 80)]);
        }
    }
    for word in
        ["url(", "@import", "<link", "<img", "<iframe", "<object", "<embed", "<base", "fetch(", "XMLHttp", "import("]
    {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn a_run_that_passed_says_so_first() {
    let page = page(&[passed_report()]);
    assert_well_formed(&page);
    for part in [
        "<title>PASS · A small talk · Ackscope</title>",
        "<h2><span class=\"badge pass\">PASS</span> <bdi>A small talk</bdi></h2>",
        "<b>2</b> steps <span>all passed</span>",
        "<b>8</b> promises <span>all kept</span>",
        "<b>2</b> budgets <span>all kept</span>",
        "<b>1</b> messages <span>nothing unusual</span>",
        "<b>1.50 s</b> in all",
        "<dt>File</dt><dd><bdi>talk.yaml</bdi></dd>",
        "<dt>Backend</dt><dd><bdi>embedded: it was asked for</bdi></dd>",
        "<dt>Seed</dt><dd><bdi>7</bdi></dd>",
        "<dt>Recording</dt><dd><bdi>trace-0.jsonl, ",
        concat!("<bdi>Ackscope ", env!("CARGO_PKG_VERSION"), "</bdi>"),
        "<tr class=\"mark\"><td class=\"num\">1</td><th scope=\"row\" colspan=\"4\"><bdi>Hello</bdi></th></tr>",
        "<td class=\"outcome\">✓ passed</td><th scope=\"row\"><bdi>ana sends &quot;hello&quot; to talk</bdi></th>",
        "<th scope=\"row\">delivered</th><td class=\"num\">1</td>",
        "<td class=\"num\">2.00 ms<span class=\"budget good\">✓ ≤ 100 ms</span></td>",
        "<strong class=\"good\">✓ Clean.</strong> 8 promises were checked.",
        "<td class=\"num\">1</td><th scope=\"row\">sends that must end in exactly one outcome</th>",
    ] {
        assert!(page.contains(part), "{part}\n is not in\n{page}");
    }
    assert!(!page.contains("class=\"findings\""));
}

#[test]
fn a_lane_shows_states_receipts_and_times() {
    let page = page(&[passed_report()]);
    for part in [
        "<tr id=\"run-1-lane-1\" class=\"lane\"><td class=\"num\">0.001 s</td><td>ana</td>",
        "aria-label=\"ana: hello: pending 0.30 ms, delivered 2.00 ms, persisted 20.0 ms; received 1 time\"",
        "<use href=\"#run-1-grid\"/>",
        "class=\"s-pending\"",
        "data-t=\"pending\nfrom 0.30 ms to 2.00 ms after the send\"",
        "data-t=\"ben: saw it as message:new\n2.10 ms after the send, at 0.003 s\"",
        "<use href=\"#shape-end\" class=\"s-persisted\"",
        "<span class=\"state t-persisted\">persisted <b>20.0 ms</b></span>",
        "<line y1=\"0\" y2=\"100%\" class=\"budget-pending\"",
        "<line y1=\"0\" y2=\"100%\" class=\"budget-outcome\"",
    ] {
        assert!(page.contains(part), "{part}\n is not in\n{page}");
    }
    // The 10 ms stand in the middle of the four decades from 0.1 ms to 1 s.
    assert!(page.contains("class=\"budget-pending\" x1=\"50.00%\""), "{page}");
    assert!(page.contains("class=\"budget-outcome\" x1=\"74.00%\""), "{page}");
}

#[test]
fn a_run_that_failed_leads_to_the_lanes() {
    let page = page(&[failed_report()]);
    assert_well_formed(&page);
    for part in [
        "<title>FAIL · A small talk · Ackscope</title>",
        "<span class=\"bad\">1 failed, 1 skipped</span>",
        "<span class=\"bad\">1 broken</span>",
        "<span class=\"bad\">1 exceeded</span>",
        "<dt>Expected</dt><dd><bdi>ben to have seen exactly: hello</bdi></dd>",
        "<dt>Found</dt><dd class=\"bad\"><bdi>nothing</bdi></dd>",
        "<dt>Lanes</dt><dd><a class=\"lane-link\" href=\"#run-1-lane-1\"><bdi>ana: hello</bdi></a></dd>",
        "✗ ≤ 100 ms, nothing was measured",
        "<strong class=\"bad\">✗ 1 promise broken</strong> of 7 that were checked: 1 lost.",
        "<span class=\"kind\">lost</span></td><th scope=\"row\"><bdi>ben never saw ana&#39;s &quot;hello&quot;</bdi></th>",
        "<div><a class=\"lane-link\" href=\"#run-1-lane-1\"><bdi>ana: hello</bdi></a> <span class=\"id\">",
        "<tr id=\"run-1-lane-1\" class=\"lane wrong\">",
        "<span class=\"flag\">audit</span>",
        "<span class=\"flag\">failed step</span>",
    ] {
        assert!(page.contains(part), "{part}\n is not in\n{page}");
    }
}

#[test]
fn faults_stand_beside_their_promises() {
    let page = page(&[degraded_report()]);
    assert_well_formed(&page);
    assert_self_contained(&page);
    for part in [
        "<h3>Faults and promises</h3>",
        "<tr class=\"bad\"><td class=\"outcome\">✗ broken</td><th scope=\"row\"><bdi>search outage</bdi>",
        "<dt>Seen</dt><dd>1 delivered, 1 internal, afterwards 1 indexed</dd>",
        "<dd class=\"bad\"><bdi>&quot;never&quot; was refused with `internal`, which is not promised</bdi></dd>",
        "<td class=\"num\">4.00 ms</td><td class=\"num\">2.00 ms</td><td class=\"num\">20.0 ms</td>",
        "<tr class=\"faint\"><td class=\"outcome\">– not exercised</td>",
        "<h3>Own cost</h3>",
        "<dt>coming to rest</dt><dd>55.0 ms</dd>",
    ] {
        assert!(page.contains(part), "{part}\n is not in\n{page}");
    }
    assert!(!html(&[passed_report()], |_| String::new()).contains("Faults and promises"));
}

#[test]
fn several_runs_are_one_page_with_a_table_of_them() {
    let page = page(&[passed_report(), failed_report()]);
    assert_well_formed(&page);
    assert_self_contained(&page);
    assert!(page.contains("<title>FAIL · 2 runs · Ackscope</title>"));
    assert!(page.contains("<h1>2 runs</h1>"));
    assert!(page.contains("<a href=\"#run-2\"><bdi>A small talk</bdi></a>"));
    assert!(page.contains("id=\"run-2-lane-1\"") && page.contains("trace-1.jsonl"));
    // An id names one element.
    let mut ids: Vec<_> = page.match_indices(" id=\"").map(|(at, _)| page[at + 5..].split('"').next()).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
    // A link leads to an element.
    for (at, _) in page.match_indices(" href=\"#") {
        let id = page[at + 8..].split('"').next();
        assert!(ids.binary_search(&id).is_ok(), "{id:?}");
    }
}

#[test]
fn nothing_was_run() {
    let page = page(&[]);
    assert_well_formed(&page);
    assert!(page.contains("<title>INCONCLUSIVE · 0 runs · Ackscope</title>") && page.contains("Nothing was run."));
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let page = page(&[passed_report(), failed_report()]);
    assert_self_contained(&page);
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("//cdn"));
    assert!(!page.contains(" style=") && !page.contains(" onclick="), "the policy forbids it");
}

#[test]
fn the_policy_knows_the_one_script_and_the_one_style() {
    let page = page(&[passed_report()]);
    assert!(page.contains("content=\"default-src &#39;none&#39;; style-src &#39;sha256-"), "{page}");
    assert!(!policy().contains("unsafe"));
    // What is between the tags is what was hashed; a browser turns CR LF into LF before it hashes.
    assert!(page.contains(&format!("<style>{STYLE}</style>")));
    assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
    assert!(!STYLE.contains('\r') && !SCRIPT.contains('\r'));
    assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
    assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    // The policy stands before anything it is about.
    assert!(page.find("Content-Security-Policy").unwrap() < page.find("<style>").unwrap());
}

#[test]
fn nobodys_text_becomes_markup() {
    const EVIL: &str =
        "</script><script src=\"http://x/\">alert('1')</script>\" onload=\"x\u{202e}\u{0}\u{7}&amp; \u{200f}ש";
    let mut trace = Trace::new(&["ana", "ben"]);
    trace.push(500, Happening::Mark { text: EVIL.into() });
    trace.push(600, Happening::Fault { target: EVIL.into(), kind: EVIL.into(), active: true });
    let hello = trace.send_at(1_000, "ana", EVIL);
    trace.pending_at(2_000, &hello);
    trace.disconnect_at(3_000, "ben");
    let mut report = failed_report();
    report.events = trace.events.into_iter().map(Arc::new).collect();
    report.scenario = EVIL.into();
    report.file_name = EVIL.into();
    report.backend_reason = EVIL.into();
    report.environment_failed = Some(EVIL.into());
    report.audit.notes.push(EVIL.into());
    for step in &mut report.steps {
        step.title = EVIL.into();
        step.messages = vec![hello.message_id];
    }
    report.steps[1].outcome = StepOutcome::Failed { expected: EVIL.into(), found: EVIL.into() };
    report.steps[2].outcome = StepOutcome::Inconclusive { reason: EVIL.into() };
    for finding in &mut report.audit.findings {
        finding.sentence = EVIL.into();
        for message in &mut finding.messages {
            message.excerpt = EVIL.into();
            message.temp_id = Some("<b>\"'</b>".parse().unwrap());
        }
    }
    let page = html(&[report.clone(), report], |_| EVIL.to_owned());
    assert_well_formed(&page);
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert!(!page.contains("alert('") && !page.contains("\" onload=\"") && !page.contains("<b>\"'"));
    assert!(page.contains("&lt;/script&gt;&lt;script src=&quot;http://x/&quot;&gt;alert(&#39;1&#39;)"));
    assert!(page.contains("x⟨U+202E⟩␀␇&amp;amp; \u{200f}ש"));
    let unseen =
        |character: char| character.is_control() && character != '\n' || ('\u{202a}'..='\u{202e}').contains(&character);
    assert!(!page.contains(unseen));
}

#[test]
fn a_long_run_is_bounded_and_says_what_is_left_out() {
    let mut trace = Trace::new(&["ana", "ben"]);
    for number in 0..60 {
        let message = trace.send_at(number * 1_000, "ana", &format!("message {number}"));
        trace.delivered_at(number * 1_000 + 500, &message, number);
    }
    let late = trace.send_at(100_000, "ben", "the late one");
    trace.delivered_at(300_000, &late, 61);
    let report = RunReport { events: trace.events.into_iter().map(Arc::new).collect(), ..passed_report() };
    let page = html_with(&[report.clone(), passed_report()], |_| "trace.jsonl".to_owned(), 21);
    assert_well_formed(&page);
    assert_eq!(page.matches("class=\"lane\"><td").count() + page.matches("class=\"lane wrong\"><td").count(), 21);
    assert!(page.contains("41 more messages had no room here: 20 of 61 are drawn"), "{page}");
    assert!(page.contains("id=\"run-1-lane-61\" class=\"lane wrong\""));
    assert!(page.contains("outcome late: 200 ms"));
    assert!(page.contains("<b>61</b> messages <span class=\"bad\">1 to look at</span>"));
    assert!(page.contains("class=\"send undrawn\""));
    // Within the real bound nothing is left out.
    assert!(!html(&[report], |_| "trace.jsonl".to_owned()).contains("had no room"));
}

#[test]
fn a_text_of_any_length_is_one_short_line() {
    let mut trace = Trace::new(&["ana"]);
    trace.send_at(0, "ana", &"long ".repeat(800));
    let report = RunReport { events: trace.events.into_iter().map(Arc::new).collect(), ..passed_report() };
    assert!(page(&[report]).len() < STYLE.len() + SCRIPT.len() + 20_000);
}

#[test]
fn numbers_for_people() {
    assert_eq!(grouped(&1_234_567), "1,234,567");
    assert_eq!(grouped(&999), "999");
    assert_eq!(counted(1, "lane"), "1 lane");
    assert_eq!(clock(1_234_567_890), "1,234.567 s");
}
