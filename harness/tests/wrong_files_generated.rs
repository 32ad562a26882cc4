//! Wrong scenario files made from right ones: each step of the language in a file that is accepted, then with each
//! field left out, given twice, of another kind and misspelled. Every one is refused with the place and the word.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ackscope_harness::scenario::{Scenario, ScenarioError, file};
use serde_json::{Value, json};

/// The longest that a refusal may take; most of it is for a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(20);

/// Each step with every field it can have, and what must come before it.
const STEPS: &[&str] = &[
    "create: {as: ana, id: other, kind: group, with: [ben], title: Other, refused: overloaded}",
    "send: {as: ana, to: talk, id: new, text: Hello, media: [picture], reply_to: hello, temp_id: t1, refused: overloaded, \
     may_be_refused: [rate_limited]}",
    "retry: {message: hello}",
    "edit: {as: ana, message: hello, text: Better, refused: overloaded}",
    "delete: {as: ana, message: hello, mode: soft, refused: overloaded}",
    "react: {as: ben, message: hello, emoji: 👍, refused: overloaded}",
    "unreact: {as: ben, message: hello, emoji: 👍, refused: overloaded}",
    "forward: {as: ana, messages: [hello], to: [talk], ids: [copy], refused: overloaded}",
    "add_participant: {as: ana, in: talk, user: cleo, role: admin, refused: overloaded}",
    "remove_participant: {as: ana, in: talk, user: ben, refused: overloaded}",
    "leave: {as: ben, in: talk, refused: overloaded}",
    "mute: {as: ben, in: talk, for: 5 min, refused: overloaded}",
    "unmute: {as: ben, in: talk, refused: overloaded}",
    "archive: {as: ben, in: talk, refused: overloaded}",
    "unarchive: {as: ben, in: talk, refused: overloaded}",
    "upload: {as: ana, id: film, file: film.png, refused: overloaded}",
    "wait: {user: ben, event: message:new, message: hello, in: talk, within: 2s}",
    "expect_ack: {message: hello, state: rejected, error: overloaded, within: 10ms}",
    "expect_view: {users: [ana], in: talk, exactly: [hello], within: 2s}",
    "expect_message: {users: [ana], message: hello, text: Hello, edited: false, deleted: false, reactions: {👍: [ben]}, \
     media: [picture], absent: false, within: 2s}",
    "expect_history: {as: ana, in: talk, contains: [hello], within: 2s}",
    "expect_conversation: {users: [ana], in: talk, participants: [ana, ben], owner: ana, muted: false, archived: false, \
     within: 2s}",
    "expect_conversations: {as: ana, archived: false, exactly: [talk], within: 2s}",
    "expect_search: {as: ana, text: hello, in: talk, contains: [hello], within: 2s}",
    "expect_stored: {message: hello, text: Hello, edits: 0, deleted: false, reactions: {}, media: [picture], \
     media_state: verified, absent: false, within: 2s}",
    "expect_cached: {conversation: talk, present: true, ttl: {at_least: 1 min, at_most: 1 h}, within: 2s}",
    "expect_breaker: {of: search, state: half_open, within: 2s}",
    "expect_log: {topic: message.sent, message: hello, count: 1, within: 2s}",
    "expect_dead_letters: {count: 0, within: 2s}",
    "drop: ben",
    "connect: {user: ana, as: ana.phone}",
    "read_slowly: {user: ben, every: 10ms, for: 2s}",
    "read_on: ben",
    "flood: {as: ana, to: talk, count: 10, text: Flood, delivered: {at_least: 1, at_most: 10}, rate_limited: {at_most: 9}, \
     overloaded: {at_most: 9}, may_be_refused: [outcome_unknown]}",
    "request: {as: ana, event: sync, payload: {a: 1}, padding: 10, refused: too_large, says: event}",
    "frame: {as: ana, text: x, then: closed, reason: closed}",
    "fault: {target: search, kind: latency, delay: 10ms, jitter: 5ms, for: 2s}",
    "heal: all",
    "advance: 16 min",
    "repeat: {times: 2, as: round, steps: [{mark: Again}]}",
    "for: {each: who, in: [ana, ben], steps: [{mark: Again}]}",
    "mark: Here",
];

/// A whole file with one step in line 8.
fn file_with(step: &str) -> String {
    format!(
        "scenario: Generated\nusers: [ana, ben, cleo]\nsteps:\n  \
         - create: {{as: ana, id: talk, kind: group, with: [ben]}}\n  \
         - upload: {{as: ana, id: picture}}\n  \
         - send: {{as: ana, to: talk, id: hello, text: Hello}}\n  # The step.\n  - {step}\n"
    )
}

const STEP_LINE: u32 = 8;

/// The name of a step and the fields of its block, each as it is written; none for a step that is one value.
fn parts(step: &str) -> (&str, Vec<(&str, String)>) {
    let (name, value) = step.split_once(": ").unwrap();
    let Some(block) = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return (name, Vec::new());
    };
    let mut fields = Vec::new();
    let (mut depth, mut from) = (0, 0);
    let mut ends = Vec::new();
    for (at, letter) in block.char_indices() {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            ',' if depth == 0 => ends.push(at),
            _ => {}
        }
    }
    ends.push(block.len());
    for end in ends {
        let field = block[from..end].trim();
        let (key, value) = field.split_once(": ").unwrap();
        fields.push((key, value.to_owned()));
        from = end + 1;
    }
    (name, fields)
}

fn block(name: &str, fields: &[(&str, String)]) -> String {
    let fields: Vec<_> = fields.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{name}: {{{}}}", fields.join(", "))
}

/// A word with two letters in the middle changed places, which is no other word of the language.
fn misspelled(word: &str) -> String {
    if word.chars().count() < 4 {
        return format!("{word}x");
    }
    let mut letters: Vec<char> = word.chars().collect();
    let at = (1..letters.len() - 1).find(|at| letters[*at] != letters[*at + 1]).unwrap_or(1);
    letters.swap(at, at + 1);
    letters.into_iter().collect()
}

/// One wrong file and what its refusal must say.
struct Wrong {
    text: String,
    /// What must be in the sentence or be the nearest word.
    word: String,
    nearest: Option<String>,
}

/// Refused, once or more, in the right line, by the right word, in sentences of one line.
fn check(wrong: &Wrong) -> Result<(), String> {
    let started = Instant::now();
    let Err(refusal) = Scenario::read("generated.yaml", &wrong.text) else { return Err("it was accepted".to_owned()) };
    let lines: Vec<&str> = wrong.text.lines().collect();
    for problem in refusal.problems() {
        let line = lines.get(problem.place.line as usize - 1).ok_or("a line outside of the file")?;
        if problem.place.column as usize > line.chars().count() + 1 {
            return Err(format!("a column outside of the line: {refusal}"));
        }
        if problem.what.contains('\n') || problem.what.trim().is_empty() {
            return Err(format!("not one line: {:?}", problem.what));
        }
    }
    let is_it = |problem: &&ackscope_harness::scenario::problem::Problem| {
        problem.place.line == STEP_LINE
            && (problem.what.contains(&format!("`{}`", wrong.word))
                || problem.expected.as_ref().is_some_and(|expected| expected.contains(&format!("`{}`", wrong.word))))
            && wrong.nearest.as_ref().is_none_or(|nearest| problem.nearest.as_ref() == Some(nearest))
    };
    if refusal.problems().iter().find(is_it).is_none() {
        return Err(format!("nothing in line {STEP_LINE} names `{}` ({:?}): {refusal}", wrong.word, wrong.nearest));
    }
    if started.elapsed() > LIMIT {
        return Err(format!("it took {:?}", started.elapsed()));
    }
    Ok(())
}

/// The schema of a step's block.
fn schema_of<'s>(schema: &'s Value, step: &str) -> &'s Value {
    let variants = schema["$defs"]["Step"]["oneOf"].as_array().unwrap();
    let variant = variants.iter().find_map(|variant| variant["properties"].get(step)).unwrap();
    let name = variant["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
    name.map_or(variant, |name| &schema["$defs"][name])
}

fn generated() -> Vec<Wrong> {
    let schema = file::schema().to_value();
    let mut all = Vec::new();
    for step in STEPS {
        let (name, fields) = parts(step);
        let mut push = |step: String, word: &str, nearest: Option<&str>| {
            all.push(Wrong { text: file_with(&step), word: word.to_owned(), nearest: nearest.map(str::to_owned) });
        };
        // The step's own name.
        let wrong = misspelled(name);
        push(step.replacen(name, &wrong, 1), &wrong, Some(name));
        if fields.is_empty() {
            push(format!("{name}: [[]]"), name, None);
            continue;
        }
        push(format!("{name}: 5"), name, None);
        push(format!("{name}:"), name, None);
        let required: Vec<&str> =
            schema_of(&schema, name)["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (index, (key, value)) in fields.iter().enumerate() {
            let with = |key: &str, value: &str| {
                let written: Vec<_> = fields
                    .iter()
                    .enumerate()
                    .map(
                        |(at, (other, old))| {
                            if at == index { format!("{key}: {value}") } else { format!("{other}: {old}") }
                        },
                    )
                    .collect();
                format!("{name}: {{{}}}", written.join(", "))
            };
            if required.contains(key) {
                let mut fields = fields.clone();
                fields.remove(index);
                push(block(name, &fields), key, None);
            }
            // Another kind: a block where a value belongs, a number where a block or a list does.
            let is_composed = value.starts_with(['[', '{']);
            if *key != "payload" {
                push(with(key, if is_composed { "5" } else { "{x: 1}" }), key, None);
            }
            let wrong = misspelled(key);
            push(with(&wrong, value), &wrong, None);
            let mut twice = fields.clone();
            twice.push((key, value.clone()));
            push(block(name, &twice), key, None);
        }
    }
    all
}

#[test]
fn each_step_as_it_stands_here_is_right() {
    for step in STEPS {
        // What is expected of it all together may contradict itself; its structure does not.
        if let Err(refusal) = Scenario::read("right.yaml", &file_with(step)) {
            let text = refusal.to_string();
            assert!(!text.contains("has no `") && !text.contains("lacks"), "{text}");
        }
    }
}

#[test]
fn each_step_of_the_language_is_here() {
    let schema = file::schema().to_value();
    let variants = schema["$defs"]["Step"]["oneOf"].as_array().unwrap();
    let words: BTreeSet<&str> = variants
        .iter()
        .flat_map(|variant| variant["properties"].as_object().unwrap().keys())
        .map(String::as_str)
        .collect();
    let here: BTreeSet<&str> = STEPS.iter().map(|step| parts(step).0).collect();
    let lacking: Vec<_> = words.difference(&here).copied().collect();
    // Hand-made files have these: a path of a file, lists of lists, and what needs a step before.
    assert_eq!(lacking, ["include", "parallel", "reconnect"]);
}

#[test]
fn every_generated_file_is_refused_by_place_and_word() {
    let all = generated();
    assert!(all.len() >= 200, "only {} files", all.len());
    let mut wrong = String::new();
    for file in &all {
        if let Err(why) = check(file) {
            let step = file.text.lines().nth(STEP_LINE as usize - 1).unwrap();
            writeln!(wrong, "--- {step}\n{why}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A step with a word in it.
type WithWord = fn(&str) -> String;

#[test]
fn every_word_of_every_list_is_found_when_it_is_misspelled() {
    let schema = file::schema().to_value();
    let words_of = |name: &str| -> Vec<String> {
        let words = schema["$defs"][name]["anyOf"][0]["enum"].as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let lists: [(&str, WithWord); 9] = [
        ("Kind", |word| format!("create: {{as: ana, id: other, kind: {word}, with: [ben]}}")),
        ("State", |word| format!("expect_ack: {{message: hello, state: {word}}}")),
        ("Code", |word| format!("edit: {{as: ana, message: hello, text: Better, refused: {word}}}")),
        ("Mode", |word| format!("delete: {{as: ana, message: hello, mode: {word}}}")),
        ("TopicName", |word| format!("expect_log: {{topic: {word}, message: hello, count: 1}}")),
        ("Event", |word| format!("wait: {{user: ben, event: {word}}}")),
        ("Target", |word| format!("fault: {{target: {word}, kind: outage}}")),
        ("Kinds", |word| format!("fault: {{target: search, kind: {word}}}")),
        ("Circuit", |word| format!("expect_breaker: {{of: search, state: {word}}}")),
    ];
    let mut checked = 0;
    for (name, step) in lists {
        for word in words_of(name) {
            let wrong = misspelled(&word);
            let file = Wrong { text: file_with(&step(&wrong)), word: wrong, nearest: Some(word.clone()) };
            check(&file).unwrap_or_else(|why| panic!("{word}: {why}"));
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}

// ---- what is hardly a file of people ----------------------------------------------------------------------

/// The largest memory this process had so far, in KiB; 0 where the system does not tell.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// Bytes of files that try what a reader can bear, and what the first line of the refusal must say.
fn monsters() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let head = "scenario: Monster\nusers: [ana]\nsteps:\n";
    let with = |rest: &str| format!("{head}{rest}").into_bytes();
    let mut laughs = String::from("scenario: Laughs\nusers: [ana]\nlet:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let previous = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(laughs, "  a{level}: &a{level} [{previous}]").unwrap();
    }
    laughs.push_str("steps: [{mark: Ha}]\n");
    vec![
        ("empty.yaml", Vec::new(), "empty.yaml:1:1: "),
        ("only_comment.yaml", b"# Nothing here\n".to_vec(), "only_comment.yaml:"),
        ("huge.yaml", vec![b'a'; 10 * 1024 * 1024], "huge.yaml:1:1: the file is too large"),
        (
            "deep.yaml",
            with(&format!("  - {}{}\n", "[".repeat(10_000), "]".repeat(10_000))),
            "deep.yaml:4:260: this is nested too deep",
        ),
        ("deep_blocks.yaml", with(&format!("  - {}x\n", "{a: ".repeat(10_000))), "deep_blocks.yaml:4:"),
        ("laughs.yaml", laughs.into_bytes(), "laughs.yaml:8:12: anchors and aliases stand for too much here"),
        ("own_alias.yaml", with("  - &a [*a]\n"), "own_alias.yaml:4:9: an alias stands within what it stands for"),
        ("no_anchor.yaml", with("  - *nowhere\n"), "no_anchor.yaml:4:"),
        (
            "two_documents.yaml",
            with("  - mark: One\n---\nscenario: Two\n"),
            "two_documents.yaml:6:1: a second document begins before here",
        ),
        ("nul.yaml", with("  - mark: A\0B\n"), "nul.yaml:4:"),
        ("escape.yaml", with("  - mark: A\u{1b}[31mB\n"), "escape.yaml:4:"),
        (
            "latin1.yaml",
            [head.as_bytes(), b"  - mark: Gr\xfc\xdfe\n"].concat(),
            "latin1.yaml:4:13: the byte 0xfc is no",
        ),
        ("utf16.yaml", vec![0xff, 0xfe, b's', 0, b'c', 0], "utf16.yaml:1:1: the byte 0xff is no"),
        ("tab.yaml", with("\t- mark: Tab\n"), "tab.yaml:4:"),
        (
            "big_number.yaml",
            with("  - repeat: {times: 99999999999999999999999999999999999999999999, steps: []}\n"),
            "big_number.yaml:4:",
        ),
        (
            "big_float.yaml",
            with("  - repeat: {times: 1e400, steps: []}\n"),
            "big_float.yaml:4:21: this number is too large",
        ),
        ("minus.yaml", with("  - repeat: {times: -1, steps: []}\n"), "minus.yaml:4:"),
        ("long_time.yaml", with("  - advance: 99999999999999999999 d\n"), "long_time.yaml:4:14: longer than a century"),
        ("merge.yaml", with("  - mark: {<<: [1, 2]}\n"), "merge.yaml:4:"),
        ("tagged.yaml", with("  - mark: !!binary aGVsbG8=\n  - sned: 1\n"), "tagged.yaml:"),
        (
            "own_include.yaml",
            with("  - include: own_include.yaml\n"),
            "own_include.yaml:4:14: `own_include.yaml` includes itself",
        ),
        ("outside.yaml", with("  - include: ../../etc/passwd\n"), "outside.yaml:4:14: `../../etc/passwd` is not in"),
        ("long_line.yaml", with(&format!("  - mark: [{}\n", "x".repeat(3_000_000))), "long_line.yaml:"),
        ("many_steps.yaml", with(&"  - sned\n".repeat(200_000)), "many_steps.yaml:4:5: a step is the text `sned`"),
        (
            "many_keys.yaml",
            with(&(0..100_000).fold(
                String::from("  - request:\n      as: ana\n      event: x\n      payload:\n"),
                |mut text, number| {
                    writeln!(text, "        k{}: 1", number / 2).unwrap();
                    text
                },
            )),
            "many_keys.yaml:",
        ),
        (
            "many_users.yaml",
            format!("scenario: Many\nusers: [{}]\nsteps: [{{mark: x}}]\n", "ana, ".repeat(100_000)).into_bytes(),
            "many_users.yaml:2:",
        ),
        (
            "many_rounds.yaml",
            with(&format!("{}mark: x{}\n", "  - {repeat: {times: 10000, as: r, steps: [{", "}]}}")),
            "many_rounds.yaml:",
        ),
    ]
}

#[test]
fn what_a_reader_can_hardly_bear_is_refused_in_bounded_time_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let before_kib = peak_memory_kib();
    let mut said = Vec::new();
    for (name, bytes, expected) in monsters() {
        let path = folder.path().join(name);
        std::fs::write(&path, &bytes).unwrap();
        let started = Instant::now();
        let refusal = match Scenario::open(&path) {
            Err(ScenarioError::Refused(refusal)) => refusal.to_string(),
            // As many rounds of one step are few enough.
            Ok(_) if name == "many_rounds.yaml" => continue,
            other => panic!("{name}: {other:?}"),
        };
        let took = started.elapsed();
        let refusal = refusal.replace(&format!("{}/", folder.path().display()), "");
        let first = refusal.lines().next().unwrap();
        assert!(first.starts_with(expected), "{name}: {first}");
        assert!(refusal.ends_with("nothing was started"), "{name}: {refusal}");
        assert!(refusal.len() < 100_000, "{name}: {} bytes", refusal.len());
        assert!(!refusal.contains(['\0', '\u{1b}']), "{name}: {refusal:?}");
        assert!(took < LIMIT, "{name}: {took:?}");
        said.push(format!("{name}: {} ms, {first}", took.as_millis()));
    }
    let grown_mib = peak_memory_kib().saturating_sub(before_kib) / 1024;
    println!("{}\nall together at most {grown_mib} MiB more", said.join("\n"));
    assert!(grown_mib < 1_024, "{grown_mib} MiB more");
}

#[test]
fn the_program_refuses_with_code_2_and_says_it_to_machines_too() {
    let state = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in monsters().into_iter().filter(|(name, ..)| {
        ["huge.yaml", "laughs.yaml", "latin1.yaml", "deep.yaml", "own_include.yaml", "two_documents.yaml"]
            .contains(name)
    }) {
        std::fs::write(state.path().join(name), &bytes).unwrap();
        for command in ["check", "run"] {
            let output = support::run(state.path(), &[command, name]);
            support::assert_exit(&output, 2);
            assert!(support::stderr(&output).starts_with(expected), "{}", support::stderr(&output));
        }
        let output = support::run(state.path(), &["check", "--json", name]);
        support::assert_exit(&output, 2);
        let told: Value = serde_json::from_str(&support::stdout(&output)).unwrap();
        assert_eq!(told["ok"], json!(false));
        assert_eq!(told["problems"][0]["file"], json!(name));
        assert!(told["problems"][0]["line"].as_u64().is_some_and(|line| line > 0), "{told}");
    }
}

#[test]
fn a_byte_order_mark_is_no_problem() {
    let text = format!("\u{feff}{}", file_with("mark: Here"));
    Scenario::read("bom.yaml", &text).unwrap_or_else(|refusal| panic!("{refusal}"));
}
