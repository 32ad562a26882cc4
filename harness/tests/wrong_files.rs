//! What a person is told about a wrong scenario file. Each `wrong/NAME.yaml` is refused with exactly the text of
//! `wrong/NAME.txt`. After an intended change: `UPDATE_GOLDEN=1 cargo test -p ackscope-harness --test wrong_files`
//! and read the difference.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use ackscope_harness::scenario::Scenario;

#[test]
fn every_wrong_file_is_refused_with_its_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    let mut checked = 0;
    let mut different = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let said = match Scenario::read(&name, &text) {
            Ok(_) => "it was accepted".to_owned(),
            Err(refusal) => format!("{refusal}\n"),
        };
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != expected {
            different.push(format!("--- {name}: expected\n{expected}\n--- {name}: said\n{said}"));
        }
        checked += 1;
    }
    assert!(checked > 10, "the folder of wrong files is nearly empty");
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn no_wrong_file_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("nothing was started"), "{}: {text}", path.display());
        }
    }
}

#[test]
fn every_text_however_cut_is_answered_without_a_panic() {
    let tour = ackscope_harness::scenario::TOUR;
    for end in (0..tour.len()).filter(|end| tour.is_char_boundary(*end)).step_by(7) {
        if let Err(refusal) = Scenario::read("cut.yaml", &tour[..end]) {
            assert!(refusal.to_string().contains("cut.yaml:"));
        }
    }
}

#[test]
fn a_file_that_is_deeper_than_any_scenario_is_refused_and_not_a_crash() {
    for depth in [100, 10_000] {
        let flow = format!("scenario: Deep\nusers: [ana]\nsteps: {}{}\n", "[".repeat(depth), "]".repeat(depth));
        let repeat = "{repeat: {times: 1, steps: [".repeat(depth);
        let blocks = format!("scenario: Deep\nusers: [ana]\nsteps: [{repeat}{}]\n", "]}}".repeat(depth));
        for text in [flow, blocks] {
            let refusal = Scenario::read("deep.yaml", &text).unwrap_err();
            assert!(refusal.to_string().contains("deep.yaml:"), "{refusal}");
        }
    }
}
