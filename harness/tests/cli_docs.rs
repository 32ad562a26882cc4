//! `docs/CLI.md` embeds the program's own help. After an intended change:
//! `UPDATE_GOLDEN=1 cargo test -p ackscope-harness --test cli_docs`.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use support::{ackscope, root, stdout};

const COMMANDS: [&str; 13] = [
    "run", "replay", "compare", "check", "serve", "token", "doctor", "matrix", "chaos", "faults", "load", "bench",
    "desktop",
];

/// Commands of a command, each with a chapter of its own.
const SUBCOMMANDS: [[&str; 2]; 4] =
    [["bench", "degradation"], ["bench", "recovery"], ["bench", "servers"], ["bench", "storage"]];

fn help(args: &[&str]) -> String {
    let state = tempfile::tempdir().unwrap();
    let output = ackscope(state.path()).args(args).arg("--help").output().unwrap();
    support::assert_exit(&output, 0);
    let lines: Vec<_> = stdout(&output).lines().map(|line| line.trim_end().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

fn document() -> String {
    let title =
        "# The command line\n\nWhat `--help` says, for reading without the program. A test keeps both the same.\n";
    let chapter = |name: &str, args: &[&str]| format!("\n## `{name}`\n\n```text\n{}```\n", help(args));
    let commands = COMMANDS.map(|command| {
        let own = chapter(&format!("ackscope {command}"), &[command]);
        let below = SUBCOMMANDS.iter().filter(|names| names[0] == command);
        let below: Vec<_> = below.map(|names| chapter(&format!("ackscope {}", names.join(" ")), names)).collect();
        own + &below.concat()
    });
    [title.to_owned(), chapter("ackscope", &[]), commands.concat()].concat()
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
        // A description that goes on in a second line stands further in than any name.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| *word != "help")
        .collect();
    assert_eq!(listed, COMMANDS);
}
