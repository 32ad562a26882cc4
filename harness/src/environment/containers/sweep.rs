//! Removing what nobody needs any more, and nothing else.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use futures_util::future::join_all;
use testcontainers::bollard::Docker;

use super::docker::{labelled, remove};
use super::owner::{KEPT, Place, RUN};
use super::{ContainersError, docker};

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many runs had left something.
    pub runs: usize,
    /// How many containers that were.
    pub containers: usize,
}

impl Swept {
    /// Whether there was nothing.
    pub fn is_empty(&self) -> bool {
        self.containers == 0
    }
}

impl std::fmt::Display for Swept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "removed {} containers that {} killed runs had left", self.containers, self.runs)
    }
}

/// Removes the containers of this user's runs whose process is gone, with their volumes. Kept ones stay, and so does
/// everything that belongs to a living process, another user or another program.
pub fn sweep() -> BoxFuture<'static, Result<Swept, ContainersError>> {
    Box::pin(async move {
        docker::on_docker_threads(async {
            let docker = docker::connect().await?;
            sweep_place(&docker, &Place::of_this_user()?).await
        })
        .await?
    })
}

pub(super) async fn sweep_place(docker: &Docker, place: &Place) -> Result<Swept, ContainersError> {
    let mut runs: HashMap<String, Vec<String>> = HashMap::new();
    for container in labelled(docker, &[place.label()]).await? {
        let labels = container.labels.unwrap_or_default();
        if let (Some(id), Some(run), false) = (container.id, labels.get(RUN), labels.contains_key(KEPT)) {
            runs.entry(run.clone()).or_default().push(id);
        }
    }
    let mut swept = Swept::default();
    for (run, containers) in runs {
        let Some(dead) = place.dead_owner(&run) else { continue };
        remove_all(docker, &containers).await?;
        dead.swept();
        swept.runs += 1;
        swept.containers += containers.len();
    }
    Ok(swept)
}

/// Ends the containers that `keep` left running. Gives their number.
pub fn remove_kept() -> BoxFuture<'static, Result<usize, ContainersError>> {
    Box::pin(async move {
        docker::on_docker_threads(async {
            let docker = docker::connect().await?;
            let place = Place::of_this_user()?;
            let _lock = place.kept_lock().await?;
            remove_labelled(&docker, &[place.label(), KEPT.to_owned()]).await
        })
        .await?
    })
}

/// Removes the containers that carry all of these labels. Gives their number.
pub(super) async fn remove_labelled(docker: &Docker, labels: &[String]) -> Result<usize, ContainersError> {
    let found = labelled(docker, labels).await?;
    let ids: Vec<_> = found.into_iter().filter_map(|container| container.id).collect();
    remove_all(docker, &ids).await?;
    Ok(ids.len())
}

/// Tries all of them before it reports a failure.
async fn remove_all(docker: &Docker, ids: &[String]) -> Result<(), ContainersError> {
    join_all(ids.iter().map(|id| remove(docker, id))).await.into_iter().collect()
}
