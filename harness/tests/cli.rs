//! The program as people and CI systems use it: words, files, exit codes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_harness::environment::load_or_create_token_key;
use serde_json::Value;
use support::{Server, ackscope, assert_exit, root, run, stderr, stdout};
use tempfile::TempDir;

fn state() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn tour() -> String {
    root().join("scenarios/tour.yaml").to_string_lossy().into_owned()
}

/// A scenario file in the state's folder.
fn scenario(state: &TempDir, name: &str, text: &str) -> String {
    let path = state.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

const TALK: &str = "\
scenario: A talk
users: [ana, ben]
steps:
  - create: {as: ana, id: talk, kind: direct, with: [ben]}
  - send: {as: ana, to: talk, id: hello, text: Hello}
";

#[test]
fn the_tour_passes_and_shows_its_timeline() {
    let state = state();
    let output = run(state.path(), &["run", &tour()]);
    assert_exit(&output, 0);
    let said = stdout(&output);
    for part in [
        "The tour\n",
        "Ana opens a group",
        "✓ mallory sends \"Can I come too?\" to weekend and is refused (not_found)",
        "✓ ana, ben and cleo see in weekend: exactly question, answer, thanks, departure, fine",
        "Time since sent",
        "rejected not_found",
        "sent twice",
        "Audit ✓ clean;",
        "PASS  The tour: ",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains('\x1b'), "no colours where nobody looks");
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_wrong_file_is_refused_before_anything_starts() {
    let state = state();
    let wrong = scenario(&state, "wrong.yaml", "scenario: Wrong\nusers: [ana]\nsteps:\n  - sned: {as: ana}\n");
    for command in ["run", "check"] {
        let output = run(state.path(), &[command, &tour(), &wrong]);
        assert_exit(&output, 2);
        let said = stderr(&output);
        assert!(said.contains("wrong.yaml:4:5: there is no step `sned`"), "{said}");
        assert!(said.contains("did you mean `send`?"), "{said}");
        assert!(!stdout(&output).contains("PASS"), "nothing was run");
    }
    let output = run(state.path(), &["run", &wrong, "--json"]);
    assert_exit(&output, 2);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&json["problems"][0]["line"], &json["problems"][0]["nearest"]), (&4.into(), &"send".into()));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let state = state();
    let output = run(state.path(), &["run", "nowhere.yaml"]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("error: cannot read nowhere.yaml: "), "{}", stderr(&output));
}

#[test]
fn a_failing_expectation_fails_the_run_and_says_what_was_found() {
    let state = state();
    let text = format!("{TALK}  - expect_view: {{users: [ben], in: talk, exactly: [], within: 1s}}\n");
    let output = run(state.path(), &["run", &scenario(&state, "fails.yaml", &text)]);
    assert_exit(&output, 1);
    let said = stdout(&output);
    assert!(said.contains("✗ ben sees in talk: nothing"), "{said}");
    assert!(said.contains("expected ben to see nothing"), "{said}");
    assert!(said.contains("found    hello"), "{said}");
    assert!(said.contains("FAIL  A talk: "), "{said}");
}

#[test]
fn a_broken_budget_fails_the_run() {
    let state = state();
    let text = format!("{TALK}budgets:\n  delivered: {{p99: 1us}}\n");
    let output = run(state.path(), &["run", &scenario(&state, "slow.yaml", &text)]);
    assert_exit(&output, 1);
    assert!(stdout(&output).contains("1 exceeded"), "{}", stdout(&output));
}

#[test]
fn a_step_that_does_something_and_fails_ends_the_run() {
    let state = state();
    let text = format!("{TALK}  - send: {{as: ana, to: talk, text: Refuse me, refused: not_found}}\n  - drop: ana\n");
    let output = run(state.path(), &["run", &scenario(&state, "ends.yaml", &text)]);
    assert_exit(&output, 1);
    let said = stdout(&output);
    assert!(said.contains("found    it was delivered"), "{said}");
    assert!(said.contains("- ana loses the connection"), "{said}");
    assert!(said.contains("1 failed, 1 skipped"), "{said}");
}

#[test]
fn json_is_one_object_and_nothing_else() {
    let state = state();
    let file = scenario(&state, "talk.yaml", TALK);
    let output = run(state.path(), &["run", &file, &file, "--seed", "42", "--json"]);
    assert_exit(&output, 0);
    let said = stdout(&output);
    assert_eq!(said.lines().count(), 1);
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["verdict"], "pass");
    assert_eq!(json["runs"].as_array().unwrap().len(), 2);
    assert_eq!(json["runs"][0]["seed"], 42);
    assert_eq!(json["runs"][0]["backend"], "embedded");
    assert_eq!(json["runs"][0]["audit"]["findings"], Value::Array(Vec::new()));
    assert!(json["runs"][0]["audit"]["promises"]["seen"].as_u64().unwrap() >= 1);
    assert!(json["runs"][0]["latencies"]["delivered"]["p99_us"].as_u64().unwrap() > 0);
}

#[test]
fn a_report_folder_has_everything_a_ci_wants() {
    let state = state();
    let file = scenario(&state, "talk.yaml", TALK);
    let output = run(state.path(), &["run", &file, "--report", "reports/today"]);
    assert_exit(&output, 0);
    let read = |name: &str| std::fs::read_to_string(state.path().join("reports/today").join(name)).unwrap();
    let json: Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!(json["runs"][0]["verdict"], "pass");
    assert!(read("junit.xml").contains("<testsuite name=\"A talk\""));
    let page = read("report.html");
    assert!(page.contains("<title>PASS · A talk · Ackscope</title>") && page.contains("id=\"run-1-lane-1\""), "{page}");
    let trace = read("trace.jsonl");
    let header: Value = serde_json::from_str(trace.lines().next().unwrap()).unwrap();
    assert_eq!(header["trace_version"], 1);
    assert!(trace.lines().skip(1).all(|line| serde_json::from_str::<Value>(line).unwrap()["at_us"].is_u64()));
}

#[test]
fn what_a_backend_needs_is_said_when_it_is_missing() {
    let state = state();
    let file = scenario(&state, "talk.yaml", TALK);
    // Addresses are wrong usage, and all that are missing are named.
    let output = run(state.path(), &["run", &file, "--backend", "external", "--redis-url", "redis://host"]);
    assert_exit(&output, 2);
    let said = stderr(&output);
    assert!(said.contains("ACKSCOPE_MONGODB_URI") && said.contains("--kafka-brokers"), "{said}");
    assert!(!said.contains("redis"), "{said}");
    // Servers that do not answer are not: the environment failed. Each is named, and no password is.
    let nowhere = ["--mongodb-uri", "mongodb://ana:s3cret@127.0.0.1:1", "--redis-url", "redis://:s3cret@127.0.0.1:1"];
    let output = ackscope(state.path())
        .args(["run", &file, "--backend", "external", "--kafka-brokers", "127.0.0.1:1"])
        .args(nowhere)
        .output()
        .unwrap();
    assert_exit(&output, 3);
    let said = stderr(&output);
    assert!(said.contains("MongoDB") && said.contains("Redis") && said.contains("Kafka"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    // An engine that is not there.
    let output = ackscope(state.path())
        .args(["run", &file, "--backend", "containers"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    assert_exit(&output, 3);
    assert!(stderr(&output).contains("/nowhere/docker.sock"), "{}", stderr(&output));
    // `auto` goes on without, and says why.
    let output = ackscope(state.path())
        .args(["run", &file, "--backend", "auto"])
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("embedded: asked for auto"), "{}", stdout(&output));
    let output = run(state.path(), &["run", &file, "--backend", "embeded"]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("embedded"), "{}", stderr(&output));
}

#[test]
fn check_accepts_what_is_right_and_prints_the_schema() {
    let state = state();
    let output = run(state.path(), &["check", &tour()]);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("tour.yaml: fine ("), "{}", stdout(&output));
    let output = run(state.path(), &["check", "--schema"]);
    assert_exit(&output, 0);
    let schema: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], serde_json::json!(["scenario", "users", "steps"]));
    // Every reference leads somewhere.
    let mut open = vec![&schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    assert!(schema.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
                }
                open.extend(object.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert_exit(&run(state.path(), &["check"]), 2);
}

#[test]
fn a_token_speaks_for_its_user_and_a_wrong_user_is_refused() {
    let state = state();
    let output = run(state.path(), &["token", "ana", "--ttl", "10min"]);
    assert_exit(&output, 0);
    let key = load_or_create_token_key(&state.path().join("ackscope/token.key")).unwrap();
    let now = Clock::default().now();
    let user = key.verify(stdout(&output).trim(), now).unwrap();
    assert_eq!(user.as_str(), "ana");
    let later = ackscope_protocol::Timestamp::from_millis(now.as_millis() + 11 * 60 * 1_000);
    assert!(key.verify(stdout(&output).trim(), later).is_err());
    for args in
        [&["token", "not a user"][..], &["token", "ana", "--ttl", "5"], &["token", "ana", "--ttl", "0s"], &["token"]]
    {
        assert_exit(&run(state.path(), args), 2);
    }
}

#[test]
fn serve_says_when_it_is_ready_and_ends_cleanly() {
    for signal in ["TERM", "INT"] {
        let state = state();
        let server = Server::start(state.path(), &[]);
        assert!(server.chat.starts_with("http://127.0.0.1:"), "{}", server.chat);
        assert!(server.ui.starts_with("http://127.0.0.1:"), "{}", server.ui);
        server.signal(signal);
        let (code, rest) = server.ended(Duration::from_secs(15));
        assert_eq!((code, rest.as_str()), (Some(0), ""), "one object and nothing else");
    }
}

#[test]
fn serve_on_a_taken_port_says_so() {
    let state = state();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(state.path(), &["serve", "--chat", &address]);
    assert_exit(&output, 3);
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
}

#[test]
fn doctor_finds_a_backend() {
    let state = state();
    let output = run(state.path(), &["doctor"]);
    assert_exit(&output, 0);
    assert!(stdout(&output).contains("✓ embedded"), "{}", stdout(&output));
    let output = run(state.path(), &["doctor", "--json"]);
    assert_exit(&output, 0);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["backends"].as_array().unwrap().len(), 3);
}

#[test]
fn a_small_load_comes_back_whole() {
    let state = state();
    let args = [
        "load",
        "--users",
        "10",
        "--group-size",
        "5",
        "--rate",
        "200",
        "--duration",
        "2s",
        "--warmup",
        "500ms",
        "--json",
    ];
    let output = run(state.path(), &args);
    // Latencies of a machine that is busy with other tests prove nothing; messages do.
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
    assert_eq!(json["broken"], Value::Array(Vec::new()), "{json:#}");
    assert_eq!(json["counts"]["received"], json["counts"]["to_be_received"]);
    assert!(json["counts"]["delivered"].as_u64().unwrap() > 300, "{json:#}");
    assert_eq!(
        json["latencies_us"]["delivered"]["count"].as_u64().unwrap(),
        json["latencies_us"]["pending"]["count"].as_u64().unwrap()
    );
    assert_exit(&run(state.path(), &["load", "--users", "7", "--group-size", "5"]), 2);
}

#[test]
fn a_pipe_that_closes_early_is_no_panic() {
    let state = state();
    let mut child = ackscope(state.path())
        .args(["run", &tour()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    assert_exit(&output, 0);
}

#[test]
fn wrong_words_are_wrong_usage() {
    let state = state();
    for args in [&["rnu"][..], &[], &["run"], &["load", "--rate", "0"], &["load", "--duration", "soon"]] {
        assert_exit(&run(state.path(), args), 2);
    }
}

#[test]
fn the_matrix_of_one_event_is_printed_and_ends_with_0() {
    let state = state();
    let output = run(state.path(), &["matrix", "--only", "conversation:leave", "--backend", "embedded"]);
    assert_exit(&output, 0);
    let said = stdout(&output);
    for part in ["group  ", "conversation:leave  ", "✓ conversation:leave / the last one", " as expected; "] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains('\x1b') && !said.contains("message:send"), "{said}");
    assert_eq!(stderr(&output), "");

    let output = run(state.path(), &["matrix", "--only", "conversation:leave", "--json"]);
    assert_exit(&output, 0);
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["cells"], report["as_expected"]);
    assert_eq!(report["cells"], report["matrix"].as_array().unwrap().len());
}

#[test]
fn the_matrix_of_no_event_names_the_nearest_one() {
    let state = state();
    let output = run(state.path(), &["matrix", "--only", "message:edti"]);
    assert_exit(&output, 2);
    assert!(stderr(&output).contains("did you mean `message:edit`?"), "{}", stderr(&output));
}

#[test]
fn several_backends_become_a_table_and_one_that_cannot_be_had_is_inconclusive() {
    let state = state();
    let talk = scenario(&state, "talk.yaml", TALK);
    let folder = state.path().join("report");
    let report = folder.to_string_lossy().into_owned();
    let output = run(state.path(), &["run", &talk, "--backend", "embedded,external", "--report", &report]);
    assert_exit(&output, 3);
    let said = stdout(&output);
    for part in [
        "  PASS  A talk: 2 steps",
        "Scenario                  embedded ",
        "talk                      ✓ ",
        "? external: the `external` backend needs the address of every server; missing: --mongodb-uri",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    assert!(!said.contains("Time since sent"), "one line for each scenario is enough\n{said}");
    for file in ["table.json", "embedded/report.html", "embedded/report.json", "external/report.json"] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let output = run(state.path(), &["run", &talk, "--backend", "embedded,external", "--json"]);
    assert_exit(&output, 3);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["verdict"], "inconclusive");
    assert_eq!(json["runs"].as_array().unwrap().len(), 1);
    let row = &json["table"]["rows"][0];
    assert_eq!(row["same"], "not_known");
    assert_eq!((&row["cells"][0]["verdict"], &row["cells"][0]["messages"]), (&"pass".into(), &1.into()));
    assert_eq!((&row["cells"][1]["verdict"], &row["cells"][1]["is_played"]), (&"inconclusive".into(), &false.into()));
}

#[test]
fn backends_beside_each_other_are_different_ones() {
    let state = state();
    let talk = scenario(&state, "talk.yaml", TALK);
    for (backends, said) in [("embedded,auto", "`auto` is one of the others"), ("embedded,embedded", "named twice")] {
        let output = run(state.path(), &["run", &talk, "--backend", backends]);
        assert_exit(&output, 2);
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}

#[test]
fn a_report_has_a_schema_and_says_what_faults_did() {
    let state = state();
    let output = run(state.path(), &["run", "--schema"]);
    assert_exit(&output, 0);
    let schema: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(schema["title"], "Ackscope report");
    let search = root().join("scenarios/search-outage.yaml").to_string_lossy().into_owned();
    let output = run(state.path(), &["run", &search, "--json"]);
    assert_exit(&output, 0);
    assert_eq!(stdout(&output).lines().count(), 1);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let row = &json["runs"][0]["ledger"][0];
    assert_eq!((&row["dependency"], &row["fault"], &row["sends"]), (&"search".into(), &"outage".into(), &1.into()));
    assert_eq!((&row["recovery"]["indexed"], &row["recovery"]["open"]), (&1.into(), &0.into()));
    assert_ne!(row["fails_run"], true, "{row}");
    assert!(json["runs"][0]["cost"]["rest_us"].as_u64().unwrap() > 0);
}
