//! `ackscope doctor`: what each backend would need on this machine, and which one `auto` takes.

use std::io;

use ackscope_core::clock::Clock;
use ackscope_harness::environment::containers::{DockerStatus, docker_status, remove_kept, sweep};
use ackscope_harness::environment::{
    BackendChoice, Environment, EnvironmentOptions, Infrastructure, Settings, variable_of,
};
use ackscope_harness::report::paint::{Paint, Tone};
use serde::Serialize;

use super::args::{DoctorArgs, load_settings};
use super::{Exit, Outcome, out};

/// What was found out about a backend.
#[derive(Debug, Serialize)]
struct Finding {
    backend: &'static str,
    usable: bool,
    says: String,
    needs: Option<String>,
}

impl Finding {
    fn usable(backend: BackendChoice, says: String) -> Self {
        Self { backend: backend.as_str(), usable: true, says, needs: None }
    }

    fn not(backend: BackendChoice, says: String, needs: &str) -> Self {
        Self { backend: backend.as_str(), usable: false, says, needs: Some(needs.to_owned()) }
    }
}

/// Looks and prints.
pub(crate) async fn doctor(args: &DoctorArgs) -> Outcome {
    if args.remove_kept {
        let removed = remove_kept().await?;
        out::line(&format!("Removed {removed} kept containers"));
        return Ok(Exit::Pass);
    }
    let settings = load_settings(args.backend.flags())?;
    let findings = [external(&settings).await, containers(&settings).await, embedded().await];
    let usable = findings.iter().any(|finding| finding.usable);
    let chosen = chosen(&settings, &findings);
    if args.json {
        out::json(&serde_json::json!({ "usable": usable, "auto": chosen, "backends": findings }))?;
        return Ok(if usable { Exit::Pass } else { Exit::Inconclusive });
    }
    let paint = Paint::for_stream(&io::stdout());
    for finding in &findings {
        let (sign, tone) = if finding.usable { ("✓", Tone::Good) } else { ("-", Tone::Faint) };
        let mut lines = finding.says.lines();
        let first = lines.next().unwrap_or_default();
        out::line(&format!("{} {:<11} {first}", paint.paint(tone, sign), finding.backend));
        for line in lines {
            out::line(&format!("              {}", line.trim_start()));
        }
        if let Some(needs) = &finding.needs {
            out::line(&format!("              {}", paint.paint(Tone::Faint, needs)));
        }
    }
    match chosen {
        Some(backend) => out::line(&format!("\nauto takes {backend} here")),
        None => out::line("\nauto takes external here, because an address is given, and it cannot be used"),
    }
    Ok(if usable { Exit::Pass } else { Exit::Inconclusive })
}

/// Which backend `auto` takes, by the findings.
fn chosen(settings: &Settings, findings: &[Finding]) -> Option<&'static str> {
    let mut usable = findings.iter().filter(|finding| finding.usable).map(|finding| finding.backend);
    let best = usable.next()?;
    // Addresses are not passed over in silence.
    let passed_over = !settings.addresses.given().is_empty() && best != BackendChoice::External.as_str();
    (!passed_over).then_some(best)
}

/// Opens the embedded backend in a folder of its own and closes it again: tables are written and read for it.
async fn embedded() -> Finding {
    match Environment::start(EnvironmentOptions::embedded(), &Clock::default()).await {
        Ok(environment) => {
            environment.shutdown().await;
            let folder = std::env::temp_dir();
            let says = format!("ready; a database was made and removed in {}", folder.display());
            Finding::usable(BackendChoice::Embedded, says)
        }
        Err(error) => Finding::not(
            BackendChoice::Embedded,
            error.to_string(),
            "it needs a folder for temporary files that can be written: set TMPDIR",
        ),
    }
}

/// Asks Docker, removes what killed runs left, and looks for the images.
async fn containers(settings: &Settings) -> Finding {
    let backend = BackendChoice::Containers;
    let version = match docker_status().await {
        status @ DockerStatus::Ready { .. } => status.to_string(),
        DockerStatus::Not(problem) => return Finding::not(backend, problem.to_string(), "it needs a Docker engine"),
    };
    let swept = match sweep().await {
        Ok(swept) if swept.is_empty() => String::new(),
        Ok(swept) => format!("; {swept}"),
        Err(error) => {
            return Finding::not(backend, format!("{version}; {error}"), "it needs a Docker engine that works");
        }
    };
    let images = settings.environment().containers().images;
    let missing = images.missing().await;
    let says = match missing.as_slice() {
        [] => format!("{version}, and the images are here{swept}"),
        missing => format!("{version}{swept}; the first start pulls {}", missing.join(", ")),
    };
    Finding::usable(backend, says)
}

/// Makes a backend on the servers that are given, and removes what that made.
async fn external(settings: &Settings) -> Finding {
    let backend = BackendChoice::External;
    let given = settings.addresses.given();
    if given.is_empty() {
        let names = ["mongodb_uri", "redis_url", "kafka_brokers"].map(variable_of).join(", ");
        return Finding::not(backend, "no addresses are given".to_owned(), &format!("it needs {names}"));
    }
    // Under a name of its own: what stays under the name that is set is nothing to try things on.
    let options = EnvironmentOptions { choice: backend, namespace: None, data: None, ..settings.environment() };
    let looked = async {
        let infrastructure = Infrastructure::start(options).await?;
        Environment::on(infrastructure, &Clock::default()).await
    };
    match looked.await {
        Ok(environment) => {
            let says = format!("ready; {}", environment.servers().unwrap_or_default());
            environment.shutdown().await;
            Finding::usable(backend, says)
        }
        Err(error) => {
            Finding::not(backend, error.to_string(), "each server has to answer and to permit what is needed")
        }
    }
}
