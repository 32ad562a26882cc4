//! The folder a run's files live in: one that goes with the run, or one that stays.
//!
//! A folder belongs to the process that owns the file `owner.lock` in it (`owner_file.rs`).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::owner_file;

/// How temporary folders of ours are called.
const PREFIX: &str = "ackscope-run-";
/// The file whose lock says whether the owner is alive.
const OWNER_FILE: &str = "owner.lock";

/// Why there is no folder for the run's files.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// Something else stands there.
    #[error("{} is not a folder", .0.display())]
    NotADirectory(PathBuf),
    /// Another process works in it.
    #[error("{} is in use by another ackscope{}", folder.display(), owner_text(owner.as_deref()))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The other process's id, if it can be read.
        owner: Option<String>,
    },
    /// The file system refused.
    #[error("{} cannot be used: {error}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn owner_text(owner: Option<&str>) -> String {
    owner.map_or_else(String::new, |owner| format!(" (process {owner})"))
}

/// The folder of a run. Dropping it removes a temporary one.
#[derive(Debug)]
pub(super) struct RunFiles {
    path: PathBuf,
    /// Before the folder in the order of dropping: some systems do not remove a file that is open.
    _lock: File,
    temporary: Option<TempDir>,
}

impl RunFiles {
    /// A folder that goes with the run. What killed runs left behind is removed first.
    pub(super) fn temporary() -> Result<Self, FilesError> {
        Self::temporary_in(&std::env::temp_dir())
    }

    fn temporary_in(parent: &Path) -> Result<Self, FilesError> {
        let failed = |error| FilesError::Io { folder: parent.to_owned(), error };
        // Only its owner may look into it (mode 0700).
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).map_err(failed)?;
        let lock = take_ownership(folder.path())?;
        sweep(parent, folder.path());
        Ok(Self { path: folder.path().to_owned(), _lock: lock, temporary: Some(folder) })
    }

    /// A folder that stays; it is made when it is not there.
    pub(super) fn kept(folder: &Path) -> Result<Self, FilesError> {
        let failed = |error| FilesError::Io { folder: folder.to_owned(), error };
        if folder.exists() && !folder.is_dir() {
            return Err(FilesError::NotADirectory(folder.to_owned()));
        }
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = take_ownership(folder)?;
        Ok(Self { path: folder.to_owned(), _lock: lock, temporary: None })
    }

    /// Where the files go.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder stays.
    pub(super) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// Removes a temporary folder and says so when it does not work.
    pub(super) fn remove(self) {
        let Self { path, _lock: lock, temporary } = self;
        drop(lock);
        if let Some(folder) = temporary
            && let Err(error) = folder.close()
        {
            tracing::warn!(%error, folder = %path.display(), "the run's files are left behind; the next start removes them");
        }
    }
}

fn take_ownership(folder: &Path) -> Result<File, FilesError> {
    let failed = |error| FilesError::Io { folder: folder.to_owned(), error };
    let path = folder.join(OWNER_FILE);
    owner_file::take(&path, &std::process::id().to_string()).map_err(failed)?.ok_or_else(|| {
        let owner = File::open(&path).ok().and_then(|mut file| owner_file::text(&mut file));
        FilesError::InUse { folder: folder.to_owned(), owner }
    })
}

/// Removes folders of ours in `parent` whose owner is gone. Anything that is doubtful stays.
fn sweep(parent: &Path, own: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) && path != own;
        // `file_type` does not follow links: a link is not ours.
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) || !same_owner(&path, own) {
            continue;
        }
        let Some(_lock) = owner_file::left(&path.join(OWNER_FILE)) else { continue };
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(folder = %path.display(), "removed what a killed run left behind"),
            Err(error) => tracing::warn!(%error, folder = %path.display(), "left by a killed run, cannot be removed"),
        }
    }
}

#[cfg(unix)]
fn same_owner(path: &Path, own: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (fs::symlink_metadata(path), fs::symlink_metadata(own)) {
        (Ok(one), Ok(other)) => one.uid() == other.uid(),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_owner(_: &Path, _: &Path) -> bool {
    // The temporary folder of such a system is the user's own.
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_the_run() {
        let parent = tempfile::tempdir().unwrap();
        let files = RunFiles::temporary_in(parent.path()).unwrap();
        let path = files.path().to_owned();
        fs::write(path.join("store.db"), "x").unwrap();
        files.remove();
        assert!(!path.exists());
        drop(RunFiles::temporary_in(parent.path()).unwrap());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_what_a_dead_owner_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let alive = RunFiles::temporary_in(parent.path()).unwrap();
        let make = |name: &str, owner: Option<&str>| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            if let Some(owner) = owner {
                fs::write(path.join(OWNER_FILE), owner).unwrap();
            }
            path
        };
        let dead = make("ackscope-run-dead", Some("ackscope 1\n"));
        fs::create_dir(dead.join("deep")).unwrap();
        let foreign = make("ackscope-run-foreign", Some("somebody else"));
        let starting = make("ackscope-run-starting", Some(""));
        let unmarked = make("ackscope-run-unmarked", None);
        let other = make("other", Some("ackscope 1\n"));
        let file = parent.path().join("ackscope-run-file");
        fs::write(&file, "x").unwrap();

        let own = RunFiles::temporary_in(parent.path()).unwrap();
        assert!(!dead.exists());
        for stays in [alive.path(), own.path(), &foreign, &starting, &unmarked, &other, &file] {
            assert!(stays.exists(), "{}", stays.display());
        }
    }

    #[test]
    fn a_kept_folder_stays_and_has_one_owner() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        let files = RunFiles::kept(&folder).unwrap();
        let error = RunFiles::kept(&folder).unwrap_err();
        let own_process = std::process::id().to_string();
        assert!(matches!(&error, FilesError::InUse { owner: Some(owner), .. } if *owner == own_process), "{error}");
        files.remove();
        assert!(folder.exists());
        drop(RunFiles::kept(&folder).unwrap());
        assert!(folder.exists());
        let file = parent.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(RunFiles::kept(&file), Err(FilesError::NotADirectory(_))));
    }
}
