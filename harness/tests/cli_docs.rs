//! `docs/CLI.md` embeds the program's own help. After an intended change:
//! `UPDATE_GOLDEN=1 cargo test -p ackscope-harness --test cli_docs`.

mod support;

use support::{ackscope, root, stdout};

const COMMANDS: [&str; 8] = ["run", "check", "serve", "token", "doctor", "load", "bench", "desktop"];

fn help(args: &[&str]) -> String {
    let state = tempfile::tempdir().unwrap();
    let output = ackscope(state.path()).args(args).arg("--help").output().unwrap();
    support::assert_exit(&output, 0);
    stdout(&output).lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn document() -> String {
    let mut text = String::from(
        "# The command line\n\nWhat `--help` says, for reading without the program. A test keeps both the same.\n",
    );
    text.push_str(&format!("\n## `ackscope`\n\n```text\n{}```\n", help(&[])));
    for command in COMMANDS {
        text.push_str(&format!("\n## `ackscope {command}`\n\n```text\n{}```\n", help(&[command])));
    }
    text
}

#[test]
fn the_document_says_what_the_program_says() {
    let path = root().join("docs/CLI.md");
    let said = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &said).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == said, "docs/CLI.md differs from --help; run this test with UPDATE_GOLDEN=1\n{said}");
}

#[test]
fn every_command_of_the_help_is_in_the_document_and_none_that_does_not_exist() {
    let help = help(&[]);
    let listed: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .collect();
    assert_eq!(listed, COMMANDS);
}
