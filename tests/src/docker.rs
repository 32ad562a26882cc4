//! What there is in Docker, asked with its own command so that it is a second opinion.

use std::path::Path;
use std::process::Command;

use ackscope_harness::environment::containers::{ContainerImages, DockerStatus, Server, docker_status};
use anyhow::Context as _;

use crate::servers::skipped;

/// The images to test with: those of the settings, the official ones when they are here, or the stand-ins of
/// `tests/images`. Nothing and one sentence in the list of what was skipped, when there are none.
pub async fn images() -> Option<ContainerImages> {
    if let DockerStatus::Not(problem) = docker_status().await {
        skipped(&format!("what needs containers: {problem}"));
        return None;
    }
    let official = ContainerImages::default();
    let choose = |server: Server, stand_in: &str| {
        let set = std::env::var(server.image_setting()).ok().filter(|image| !image.is_empty());
        let here = [official.of(server), stand_in].into_iter().find(|image| is_here(image)).map(str::to_owned);
        set.or(here)
    };
    let mongodb = choose(Server::Mongodb, "ackscope-offline/mongo:7");
    let redis = choose(Server::Redis, "ackscope-offline/redis:7");
    let kafka = choose(Server::Kafka, "ackscope-offline/kafka:4.1");
    let (Some(mongodb), Some(redis), Some(kafka)) = (mongodb, redis, kafka) else {
        skipped("what needs containers: neither the official images nor those of tests/images are here");
        return None;
    };
    Some(ContainerImages { mongodb, redis, kafka })
}

fn is_here(image: &str) -> bool {
    docker(&["image", "inspect", "--format", "{{.Id}}", image]).is_ok()
}

/// Runs `docker` and gives its output.
pub fn docker(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("docker").args(arguments).output().context("the command `docker` is missing")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "docker {arguments:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// The ids of the containers with this label.
pub fn labelled(label: &str) -> anyhow::Result<Vec<String>> {
    docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &format!("label={label}")]).map(|text| lines(&text))
}

/// The containers of processes whose `XDG_STATE_HOME` this is.
pub fn of_place(state: &Path) -> anyhow::Result<Vec<String>> {
    match place_id(state) {
        Ok(id) => labelled(&format!("dev.ackscope.place={id}")),
        // Broken off before it had one.
        Err(_) => Ok(Vec::new()),
    }
}

/// The id by which containers of this `XDG_STATE_HOME` are known.
pub fn place_id(state: &Path) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(state.join("ackscope/containers/id"))?.trim().to_owned())
}

/// The containers of this process.
pub fn of_owner(process: u32) -> anyhow::Result<Vec<String>> {
    labelled(&format!("dev.ackscope.owner={process}"))
}

/// The volumes these containers use.
pub fn volumes_of(containers: &[String]) -> anyhow::Result<Vec<String>> {
    let mut volumes = Vec::new();
    for container in containers {
        let format = "{{range .Mounts}}{{.Name}}\n{{end}}";
        volumes.extend(lines(&docker(&["inspect", "--format", format, container])?));
    }
    volumes.retain(|name| !name.is_empty());
    Ok(volumes)
}

/// Every volume.
pub fn volumes() -> anyhow::Result<Vec<String>> {
    docker(&["volume", "ls", "--quiet"]).map(|text| lines(&text))
}

/// Volumes no container uses.
pub fn dangling_volumes() -> anyhow::Result<Vec<String>> {
    docker(&["volume", "ls", "--quiet", "--filter", "dangling=true"]).map(|text| lines(&text))
}

/// Every network.
pub fn networks() -> anyhow::Result<Vec<String>> {
    docker(&["network", "ls", "--quiet"]).map(|text| lines(&text))
}
