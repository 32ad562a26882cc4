//! Whose containers are whose.
//!
//! A run owns a file (`owner_file.rs`), and every container it makes names that run in a label. The lock is taken before
//! the first container is made. The files lie in the user's state folder and not in a temporary one: after a restart of the
//! machine the containers are still there, and so must be what says whose they were.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use uuid::Uuid;

use super::{ContainersError, Server, watchdog};
use crate::environment::owner_file;
use crate::environment::state::state_folder;

/// The folder of lock files this container's owner uses. Another user or machine has another one, cannot ask for its
/// locks and leaves its containers alone.
pub(super) const PLACE: &str = "dev.ackscope.place";
/// The run it belongs to.
pub(super) const RUN: &str = "dev.ackscope.run";
/// The run's process, for people.
pub(super) const OWNER: &str = "dev.ackscope.owner";
/// The lock file, for people.
pub(super) const LOCK: &str = "dev.ackscope.lock";
/// Which server it is.
pub(super) const SERVER: &str = "dev.ackscope.server";
/// On which port of this machine it is.
pub(super) const PORT: &str = "dev.ackscope.port";
/// From which image it was made, as the settings named it.
pub(super) const IMAGE: &str = "dev.ackscope.image";
/// There when it outlives its run.
pub(super) const KEPT: &str = "dev.ackscope.kept";

/// How often a lock that another process holds is asked for.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);
/// How long another start of kept containers may take: longer than its servers may.
const KEPT_LIMIT: Duration = Duration::from_secs(150);

/// The folder of lock files.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// Different for every such folder in the world.
    id: String,
}

impl Place {
    /// This user's: `${XDG_STATE_HOME:-~/.local/state}/ackscope/containers`. Without a home, one among the temporary
    /// files: better than nothing, as it lasts until the machine is restarted.
    pub(super) fn of_this_user() -> Result<Self, ContainersError> {
        let state = state_folder(|name| std::env::var_os(name));
        Self::open(&state.unwrap_or_else(|| std::env::temp_dir().join("ackscope")).join("containers"))
    }

    fn open(folder: &Path) -> Result<Self, ContainersError> {
        let failed = ContainersError::state(folder);
        fs::create_dir_all(folder).map_err(&failed)?;
        let file = folder.join("id");
        let id = match fs::read_to_string(&file) {
            Ok(id) => id,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut new = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
                new.write_all(Uuid::new_v4().to_string().as_bytes()).map_err(&failed)?;
                // Whole at once or not at all. Of two processes that come here one is first; both read what it wrote.
                match new.persist_noclobber(&file) {
                    Ok(_) => {}
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(failed(error.error)),
                }
                fs::read_to_string(&file).map_err(&failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { folder: folder.to_owned(), id: id.trim().to_owned() })
    }

    /// The label all containers of this place carry.
    pub(super) fn label(&self) -> String {
        format!("{PLACE}={}", self.id)
    }

    /// A run of this process.
    pub(super) fn begin_run(&self) -> Result<Run, ContainersError> {
        let id = Uuid::new_v4();
        let path = self.lock_path(id);
        let lock = owner_file::create(&path, &std::process::id().to_string());
        let lock = lock.map_err(ContainersError::state(&path))?;
        let watchdog = watchdog::start(&id.to_string());
        Ok(Run { id, path, place: self.id.clone(), lock, watchdog })
    }

    fn lock_path(&self, run: Uuid) -> PathBuf {
        self.folder.join(format!("run-{run}.lock"))
    }

    /// The lock of a run whose owner is gone, so that nobody else takes it for gone at the same time. `None` when the
    /// owner lives, and when it is doubtful.
    pub(super) fn dead_owner(&self, run: &str) -> Option<DeadOwner> {
        // What a label says is not used as a path.
        let run = run.parse().ok()?;
        let path = self.lock_path(run);
        match path.try_exists() {
            // An owner removes its file after its containers; what turned up later is left over too.
            Ok(false) => Some(DeadOwner { run, path, _lock: None }),
            Ok(true) => owner_file::left(&path).map(|(lock, _)| DeadOwner { run, path, _lock: Some(lock) }),
            Err(_) => None,
        }
    }

    /// Waits until the owner of a run is gone, without a limit: it lives as long as it likes. `None` when it has ended
    /// in good order, and when it is doubtful.
    pub(super) fn wait_for_end(&self, run: &str) -> Option<DeadOwner> {
        let run = run.parse().ok()?;
        let path = self.lock_path(run);
        let mut file = File::open(&path).ok()?;
        owner_file::text(&mut file)?;
        (file.lock().is_ok() && path.exists()).then_some(DeadOwner { run, path, _lock: Some(file) })
    }

    /// Lets one process at a time start or remove kept containers. The lock ends when the file is dropped.
    pub(super) async fn kept_lock(&self) -> Result<File, ContainersError> {
        let path = self.folder.join("kept.lock");
        let failed = ContainersError::state(&path);
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(&failed)?;
        let taking = async {
            loop {
                match file.try_lock() {
                    Ok(()) => return Ok(()),
                    Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_INTERVAL).await,
                    Err(TryLockError::Error(error)) => return Err(failed(error)),
                }
            }
        };
        tokio::time::timeout(KEPT_LIMIT, taking).await.map_err(|_| ContainersError::KeptBusy(KEPT_LIMIT))??;
        Ok(file)
    }
}

/// A run that ended without removing its containers.
#[derive(Debug)]
pub(super) struct DeadOwner {
    run: Uuid,
    path: PathBuf,
    _lock: Option<File>,
}

impl DeadOwner {
    /// The label by which its containers are found.
    pub(super) fn label(&self) -> String {
        label(self.run)
    }

    /// Its containers are gone; the lock file goes too.
    pub(super) fn swept(self) {
        remove_lock(&self.path);
    }
}

/// A run of this process; it owns the containers that carry its labels.
#[derive(Debug)]
pub(super) struct Run {
    id: Uuid,
    path: PathBuf,
    place: String,
    lock: File,
    watchdog: Option<Child>,
}

fn label(run: Uuid) -> String {
    format!("{RUN}={run}")
}

impl Run {
    /// The label by which its containers are found.
    pub(super) fn label(&self) -> String {
        label(self.id)
    }

    /// What a container of this run carries.
    pub(super) fn labels(&self, server: Server, port: u16, image: &str, kept: bool) -> Vec<(&'static str, String)> {
        let mut labels = vec![
            (PLACE, self.place.clone()),
            (RUN, self.id.to_string()),
            (OWNER, std::process::id().to_string()),
            (LOCK, self.path.display().to_string()),
            (SERVER, server.as_str().to_owned()),
            (PORT, port.to_string()),
            (IMAGE, image.to_owned()),
        ];
        if kept {
            labels.push((KEPT, "true".to_owned()));
        }
        labels
    }

    /// Its containers are gone, or nobody's any more.
    pub(super) fn end(self) {
        remove_lock(&self.path);
        drop(self.lock);
        if let Some(mut watchdog) = self.watchdog
            && let Err(error) = watchdog.kill().and_then(|()| watchdog.wait())
        {
            tracing::debug!(%error, "the watchdog of the containers cannot be waited for");
        }
    }
}

fn remove_lock(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::debug!(%error, path = %path.display(), "a lock file stays; it does no harm");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_id(run: &Run) -> String {
        run.id.to_string()
    }

    #[test]
    fn an_owner_is_alive_while_its_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path()).unwrap();
        let run = place.begin_run().unwrap();
        let id = run_id(&run);
        assert!(place.dead_owner(&id).is_none());
        let path = run.path.clone();
        // As when the process is killed: the lock goes, the file stays.
        drop(run);
        let dead = place.dead_owner(&id).unwrap();
        assert!(place.dead_owner(&id).is_none(), "two sweepers do not sweep the same run");
        dead.swept();
        assert!(!path.exists());
        assert!(place.dead_owner(&id).is_some(), "a run whose file is gone has ended");
    }

    #[test]
    fn who_waits_for_the_end_hears_how_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path()).unwrap();
        let waiting = |run: &Run| {
            let (place, id, waits) = (place.clone(), run_id(run), run.path.clone());
            let waiting = move || place.wait_for_end(&id).map(|dead| dead.label());
            let waiting = std::thread::Builder::new().name("waiting".to_owned()).spawn(waiting).unwrap();
            assert!(waits.exists() && !waiting.is_finished(), "the run goes on");
            waiting
        };
        let run = place.begin_run().unwrap();
        let (label, killed) = (run.label(), waiting(&run));
        drop(run);
        assert_eq!(killed.join().unwrap(), Some(label));
        let run = place.begin_run().unwrap();
        let ended = waiting(&run);
        run.end();
        assert_eq!(ended.join().unwrap(), None);
        assert!(place.wait_for_end("../../etc/passwd").is_none());
    }

    #[test]
    fn what_is_doubtful_is_alive() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path()).unwrap();
        let starting = Uuid::new_v4();
        fs::write(place.lock_path(starting), "").unwrap();
        assert!(place.dead_owner(&starting.to_string()).is_none());
        assert!(place.dead_owner("../../etc/passwd").is_none());
    }

    #[test]
    fn a_place_keeps_its_id_and_no_two_have_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path()).unwrap();
        assert_eq!(Place::open(folder.path()).unwrap().id, place.id);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Place::open(other.path()).unwrap().id, place.id);
    }

    #[tokio::test]
    async fn one_process_at_a_time_starts_kept_containers() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path()).unwrap();
        let first = place.kept_lock().await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(200), place.kept_lock()).await;
        assert!(waiting.is_err());
        drop(first);
        place.kept_lock().await.unwrap();
    }
}
