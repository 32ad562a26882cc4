//! Running the built program.

#![allow(dead_code, clippy::unwrap_used, reason = "support of tests; each test file uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The built program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ackscope");

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A command that keeps its key in `state` and knows no settings of this machine.
pub(crate) fn ackscope(state: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("XDG_STATE_HOME", state).env("ACKSCOPE_BACKEND", "embedded").env_remove("ACKSCOPE_LOG");
    for name in ["MONGODB_URI", "REDIS_URL", "KAFKA_BROKERS", "NAMESPACE", "KEEP"] {
        command.env_remove(format!("ACKSCOPE_{name}"));
    }
    command.current_dir(state).stdin(Stdio::null());
    command
}

/// Runs it with these arguments.
pub(crate) fn run(state: &Path, args: &[&str]) -> Output {
    ackscope(state).args(args).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code, with everything that was said when it is another one.
#[track_caller]
pub(crate) fn assert_exit(output: &Output, code: i32) {
    let said = || format!("stdout:\n{}\nstderr:\n{}", stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{}", said());
}

/// A server that was started with `serve --json`. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) chat: String,
    pub(crate) ui: String,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub(crate) fn start(state: &Path, more: &[&str]) -> Self {
        let mut child = ackscope(state)
            .args(["serve", "--json", "--backend", "embedded", "--chat", "127.0.0.1:0", "--ui", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        assert_eq!(ready["backend"], "embedded");
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        Self { child, chat: text("chat"), ui: text("ui"), stdout }
    }

    /// Sends a signal, such as `KILL` or `TERM`, with the system's own `kill`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended; gives its exit code and what it still printed.
    pub(crate) fn ended(mut self, limit: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it did not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        self.child.kill().and_then(|()| self.child.wait()).ok();
    }
}
