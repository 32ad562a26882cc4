//! `docs/SCENARIOS.md` has every step, field and stage of the language, with an example that is accepted. After a change:
//! `UPDATE_GOLDEN=1 cargo test -p ackscope-harness --test scenario_docs`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ackscope_harness::scenario::{Scenario, file};
use serde_json::Value;

/// What comes before each example.
const BEFORE: &str = "scenario: An example\nusers: [ana, ben, cleo]\nsteps:\n  \
    - create: {as: ana, id: talk, kind: group, with: [ben]}\n  \
    - create: {as: ana, id: other, kind: direct, with: [ben]}\n  \
    - upload: {as: ana, id: picture}\n  \
    - send: {as: ana, to: talk, id: hello, text: Hello}\n";

/// An example of each step.
const EXAMPLES: &[&str] = &[
    "create: {as: ana, id: weekend, kind: group, with: [ben, cleo], title: Weekend trip}",
    "send: {as: ben, to: talk, id: answer, reply_to: hello, text: Good morning}",
    "retry: {message: hello}",
    "edit: {as: ben, message: hello, text: Mine now, refused: not_owner}",
    "delete: {as: ana, message: hello, mode: soft}",
    "react: {as: ben, message: hello, emoji: 👍}",
    "unreact: {as: ben, message: hello, emoji: 👍}",
    "forward: {as: ana, messages: [hello], to: [other], ids: [copy]}",
    "add_participant: {as: ana, in: talk, user: cleo, role: admin}",
    "remove_participant: {as: ana, in: talk, user: ben}",
    "leave: {as: ben, in: talk}",
    "mute: {as: ben, in: talk, for: 8 h}",
    "unmute: {as: ben, in: talk}",
    "archive: {as: ben, in: talk}",
    "unarchive: {as: ben, in: talk}",
    "upload: {as: ben, id: drawing, file: drawing.png}",
    "wait: {user: ben, event: message:new, message: hello, within: 2s}",
    "expect_ack: {message: hello, state: delivered, within: 100ms}",
    "expect_view: {users: [ana, ben], in: talk, exactly: [hello]}",
    "expect_message: {users: [ben], message: hello, text: Hello, edited: false, reactions: {}}",
    "expect_history: {as: cleo, in: talk, refused: not_found}",
    "expect_conversation: {users: [ben], in: talk, participants: [ana, ben], owner: ana}",
    "expect_conversations: {as: ben, exactly: [talk, other]}",
    "expect_search: {as: ben, text: hello, exactly: [hello]}",
    "expect_stored: {message: hello, text: Hello, edits: 0}",
    "expect_cached: {conversation: talk, present: true, ttl: {at_least: 59 min}}",
    "expect_breaker: {of: search, state: closed}",
    "expect_log: {topic: message.sent, message: hello, count: 1}",
    "expect_dead_letters: {count: 0}",
    "drop: ben",
    "reconnect: ben",
    "connect: {user: ana, as: ana.phone}",
    "read_slowly: {user: ben, every: 20ms, for: 3s}",
    "read_on: ben",
    "flood: {as: ben, to: talk, count: 800, rate_limited: {at_least: 1}}",
    "request: {as: ben, event: message:edit, payload: {message_id: $(message:hello), text: 5}, refused: invalid_payload}",
    "frame: {as: ben, text: no packet, then: closed}",
    "fault: {target: search, kind: latency, delay: 300ms, for: 5s}",
    "heal: all",
    "advance: 16 min",
    "parallel: [[{send: {as: ana, to: talk, text: One}}], [{send: {as: ben, to: talk, text: Two}}]]",
    "repeat: {times: 3, as: round, steps: [{send: {as: ana, to: talk, text: Round $(round)}}]}",
    "for: {each: who, in: [ana, ben], steps: [{send: {as: $(who), to: talk, text: I am $(who)}}]}",
    "include: parts/setup.yaml",
    "mark: Ana opens a group",
];

fn examples() -> BTreeMap<&'static str, &'static str> {
    EXAMPLES.iter().map(|example| (example.split_once(':').unwrap().0, *example)).collect()
}

/// A description in one line, as a cell of a table.
fn cell(schema: &Value) -> String {
    let description = schema["description"].as_str().unwrap_or_default();
    description.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The words that can stand for a field, when there are not too many of them.
fn words(schema: &Value, field: &Value) -> String {
    let parts = [field].into_iter().chain(field["anyOf"].as_array().into_iter().flatten());
    for part in parts {
        let name = part["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
        let named = name.map_or(&Value::Null, |name| &schema["$defs"][name]["anyOf"][0]["enum"]);
        if let Some(list) = named.as_array().filter(|list| list.len() <= 8) {
            let words: Vec<_> = list.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
            return format!(" One of {}.", words.join(", "));
        }
    }
    String::new()
}

fn fields(text: &mut String, schema: &Value, of: &Value) {
    let required: Vec<&str> = of["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = of["properties"].as_object() else { return };
    writeln!(text, "| field | |\n|---|---|").unwrap();
    for (name, field) in properties {
        let name = if required.contains(&name.as_str()) { format!("**`{name}`**") } else { format!("`{name}`") };
        writeln!(text, "| {name} | {}{} |", cell(field), words(schema, field)).unwrap();
    }
    writeln!(text).unwrap();
}

/// Every step with its fields and an example.
fn reference() -> String {
    let schema = file::schema().to_value();
    let examples = examples();
    let mut text = String::from("A field in bold must be there.\n\n");
    for variant in schema["$defs"]["Step"]["oneOf"].as_array().unwrap() {
        let (name, value) = variant["properties"].as_object().unwrap().iter().next().unwrap();
        let example = examples.get(name.as_str()).unwrap_or_else(|| panic!("no example of `{name}`"));
        writeln!(text, "### `{name}`\n\n{}\n\n```yaml\n- {example}\n```\n", cell(variant)).unwrap();
        if let Some(of) = value["$ref"].as_str().and_then(|of| of.strip_prefix("#/$defs/")) {
            fields(&mut text, &schema, &schema["$defs"][of]);
        }
    }
    writeln!(text, "## Stages that can have a budget\n").unwrap();
    fields(&mut text, &schema, &schema["$defs"]["StageBudgets"]);
    text.trim_end().to_owned()
}

#[test]
fn the_reference_is_that_of_the_types() {
    let path = support::root().join("docs/SCENARIOS.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once("<!-- steps -->").unwrap();
    let (_, after) = rest.split_once("<!-- /steps -->").unwrap();
    let right = format!("{before}<!-- steps -->\n\n{}\n\n<!-- /steps -->{after}", reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &right).unwrap();
    }
    let document = std::fs::read_to_string(&path).unwrap();
    assert!(document == right, "docs/SCENARIOS.md is behind the types: run this test with UPDATE_GOLDEN=1");
}

#[test]
fn every_example_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("parts")).unwrap();
    std::fs::write(folder.path().join("parts/setup.yaml"), "- mark: Set up\n").unwrap();
    for example in EXAMPLES {
        let before = if example.starts_with("reconnect") { "  - drop: ben\n" } else { "" };
        let path = folder.path().join("example.yaml");
        std::fs::write(&path, format!("{BEFORE}{before}  - {example}\n")).unwrap();
        Scenario::open(&path).unwrap_or_else(|error| panic!("{example}: {error}"));
    }
}

#[test]
fn the_file_in_the_document_is_accepted() {
    let document = std::fs::read_to_string(support::root().join("docs/SCENARIOS.md")).unwrap();
    let text = document.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    Scenario::read("document.yaml", text).unwrap_or_else(|refusal| panic!("{refusal}"));
}
