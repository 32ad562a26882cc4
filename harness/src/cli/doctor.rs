//! `ackscope doctor`: what each backend would need on this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackscope_core::clock::Clock;
use ackscope_harness::environment::{BackendChoice, Environment, EnvironmentOptions, Settings};
use ackscope_harness::report::paint::{Paint, Tone};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::args::{DoctorArgs, load_settings};
use super::{Exit, Outcome, out};

/// How long Docker may take to answer.
const DOCKER_LIMIT: Duration = Duration::from_secs(2);
/// Where Docker listens unless `DOCKER_HOST` says otherwise.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// What was found out about a backend.
#[derive(Debug, Serialize)]
struct Finding {
    backend: &'static str,
    usable: bool,
    says: String,
    needs: Option<String>,
}

/// Looks and prints.
pub(crate) async fn doctor(args: &DoctorArgs) -> Outcome {
    let settings = load_settings(Settings::default())?;
    let findings = [embedded().await, containers().await, external(&settings)];
    let usable = findings.iter().any(|finding| finding.usable);
    if args.json {
        out::json(&serde_json::json!({ "usable": usable, "backends": findings }))?;
    } else {
        let paint = Paint::for_stream(&io::stdout());
        for finding in &findings {
            let (sign, tone) = if finding.usable { ("✓", Tone::Good) } else { ("-", Tone::Faint) };
            let name = format!("{:<11}", finding.backend);
            out::line(&format!("{} {name} {}", paint.paint(tone, sign), finding.says));
            if let Some(needs) = &finding.needs {
                out::line(&format!("              {}", paint.paint(Tone::Faint, needs)));
            }
        }
    }
    Ok(if usable { Exit::Pass } else { Exit::Inconclusive })
}

/// Opens the embedded backend in a folder of its own and closes it again: tables are written and read for it.
async fn embedded() -> Finding {
    let options = EnvironmentOptions::embedded();
    match Environment::start(options, &Clock::default()).await {
        Ok(environment) => {
            environment.shutdown().await;
            let folder = std::env::temp_dir();
            Finding {
                backend: "embedded",
                usable: true,
                says: format!("ready; a database was made and removed in {}", folder.display()),
                needs: None,
            }
        }
        Err(error) => Finding {
            backend: "embedded",
            usable: false,
            says: error.to_string(),
            needs: Some("it needs a folder for temporary files that can be written: set TMPDIR".to_owned()),
        },
    }
}

async fn containers() -> Finding {
    let says = match docker_socket() {
        Some(socket) => match ping(&socket).await {
            Ok(()) => format!("Docker answers at {}", socket.display()),
            Err(error) => format!("Docker does not answer at {}: {error}", socket.display()),
        },
        None => "DOCKER_HOST names something that is not a socket file, which is not looked at".to_owned(),
    };
    Finding {
        backend: "containers",
        usable: false,
        says,
        needs: Some("the containers backend arrives in a later version".to_owned()),
    }
}

fn docker_socket() -> Option<PathBuf> {
    match std::env::var("DOCKER_HOST") {
        Ok(host) if !host.is_empty() => host.strip_prefix("unix://").map(PathBuf::from),
        _ => Some(PathBuf::from(DOCKER_SOCKET)),
    }
}

/// A real request, not only a file that is there.
#[cfg(unix)]
async fn ping(socket: &Path) -> io::Result<()> {
    let asking = async {
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").await?;
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        if answer.contains(" 200 ") { Ok(()) } else { Err(io::Error::other("it answers something else")) }
    };
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "no answer within 2 s");
    tokio::time::timeout(DOCKER_LIMIT, asking).await.unwrap_or_else(|_| Err(timed_out()))
}

#[cfg(not(unix))]
async fn ping(_: &Path) -> io::Result<()> {
    Err(io::Error::other("only looked for on Unix"))
}

fn external(settings: &Settings) -> Finding {
    let names = settings.addresses.names();
    let says = if names.is_empty() {
        "no addresses are given".to_owned()
    } else {
        format!("addresses are given: {}", names.join(", "))
    };
    Finding {
        backend: "external",
        usable: false,
        says,
        needs: Some("the external backend arrives in a later version".to_owned()),
    }
}
