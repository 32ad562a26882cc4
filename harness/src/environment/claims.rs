//! Which names on servers that others use belong to runs that live (S2).
//!
//! A run that goes away takes its database, keys and topics with it. One that is killed cannot, so it owns a file
//! (`owner_file.rs`) in the user's state folder from before it makes anything until everything is removed. The next start at the same servers removes what the files without a
//! lock name. Nobody else's names are touched: another user or machine has other files, and a name that is not one of
//! a run is left alone whatever a file says.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ackscope_core::clock::Clock;

use super::containers::ServerAddresses;
use super::namespace::Namespace;
use super::owner_file;
use super::servers::{Place, Servers};
use super::state::state_folder;

const ENDING: &str = "claim";
/// How long removing what one run left may take.
const SWEEP_LIMIT: Duration = Duration::from_secs(30);
/// Most runs whose leftovers one start removes.
const SWEEPS_MAX: usize = 8;

/// The name of a run that lives.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Claims a name before anything is made under it. Without a state folder the run has no claim, and what it leaves
    /// when it is killed stays.
    pub(super) fn take(name: &str, servers: &ServerAddresses) -> Option<Self> {
        let folder = folder()?;
        let taken = fs::create_dir_all(&folder).and_then(|()| Self::take_in(&folder, name, &servers.to_string()));
        taken.map_err(|error| tracing::warn!(%error, "a killed run would leave its names on the servers")).ok()
    }

    fn take_in(folder: &Path, name: &str, servers: &str) -> io::Result<Self> {
        let path = folder.join(format!("{name}.{ENDING}"));
        Ok(Self { _lock: owner_file::create(&path, servers)?, path })
    }

    /// Everything under the name is gone.
    pub(super) fn release(self) {
        remove(&self.path);
    }
}

/// A name whose run is gone. Its lock is held, so that nobody else removes the same at the same time.
struct Left {
    name: Namespace,
    path: PathBuf,
    _lock: File,
}

fn folder() -> Option<PathBuf> {
    Some(state_folder(|name| std::env::var_os(name))?.join("external"))
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "the claim of a run stays, and names nothing");
    }
}

/// What was left at these servers.
fn left_in(folder: &Path, servers: &str) -> Vec<Left> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let left = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        let name: Namespace = path.file_name()?.to_str()?.strip_suffix(&format!(".{ENDING}"))?.parse().ok()?;
        if !name.is_of_a_run() {
            return None;
        }
        let (lock, at) = owner_file::left(&path)?;
        (at == servers).then_some(Left { name, path, _lock: lock })
    });
    left.take(SWEEPS_MAX).collect()
}

/// Removes what killed runs left at these servers. What cannot be removed is left for the next start.
pub(super) async fn sweep(servers: &ServerAddresses, clock: &Clock) {
    let Some(folder) = folder() else { return };
    for left in left_in(&folder, &servers.to_string()) {
        let removing = async {
            let connected = Box::pin(Servers::connect(servers, Place::of_a_run(&left.name), clock)).await?;
            Ok::<_, super::ServerProblems>(connected.shutdown().await)
        };
        match tokio::time::timeout(SWEEP_LIMIT, removing).await {
            Ok(Ok(true)) => {
                remove(&left.path);
                tracing::warn!(name = %left.name, "removed what a killed run had left on the servers");
            }
            Ok(Ok(false)) => tracing::warn!(name = %left.name, "a part of what a killed run left stays"),
            Ok(Err(error)) => tracing::warn!(%error, name = %left.name, "what a killed run left stays"),
            Err(_) => tracing::warn!(name = %left.name, "what a killed run left stays: the servers are too slow"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path, servers: &str) -> Vec<String> {
        left_in(folder, servers).into_iter().map(|left| left.name.to_string()).collect()
    }

    #[test]
    fn only_what_nobody_holds_at_these_servers_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, name) = (folder.path(), Namespace::of_a_run());
        let claim = Claim::take_in(folder, name.as_str(), "here").unwrap();
        assert!(Claim::take_in(folder, name.as_str(), "here").is_err(), "a name is claimed once");
        assert_eq!(names(folder, "here"), Vec::<String>::new(), "its run lives");
        // As when its process is killed.
        drop(claim);
        assert_eq!(names(folder, "here"), [name.to_string()]);
        assert_eq!(names(folder, "there"), Vec::<String>::new(), "other servers have nothing of it");
        let held = left_in(folder, "here");
        assert_eq!(names(folder, "here"), Vec::<String>::new(), "somebody removes it already");
        drop(held);
        Claim { path: left_in(folder, "here").remove(0).path, _lock: tempfile::tempfile().unwrap() }.release();
        assert_eq!(names(folder, "here"), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_not_of_a_run_and_a_text_that_is_not_ours_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        drop(Claim::take_in(folder.path(), "production", "here").unwrap());
        fs::write(folder.path().join(format!("{}.{ENDING}", Namespace::of_a_run())), "here").unwrap();
        fs::write(folder.path().join("ackscope-run-x y.claim"), "ackscope here").unwrap();
        fs::write(folder.path().join(format!("{}.txt", Namespace::of_a_run())), "ackscope here").unwrap();
        assert_eq!(names(folder.path(), "here"), Vec::<String>::new());
    }
}
