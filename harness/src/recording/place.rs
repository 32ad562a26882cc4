//! Where runs are recorded that name no file: in this user's state folder, the latest few.
//!
//! Latest is what was written to last. A server that has been idle while many others began may so lose its file; one
//! whose recording matters names it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ackscope_core::clock::Clock;

use super::RecordOptions;
use super::format::EXTENSION;
use crate::environment::state::state_folder;

/// Recordings that are kept there; an older one goes when a new run begins.
pub const KEPT: usize = 10;
/// Most bytes of each of them.
pub const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The folder: `${XDG_STATE_HOME:-~/.local/state}/ackscope/recordings`. None when neither is set.
pub fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    Some(state_folder(variable)?.join("recordings"))
}

/// A name in the folder for a run that begins now. Makes the folder and removes all but the newest [`KEPT`] less
/// one.
pub fn new_file(folder: &Path) -> io::Result<PathBuf> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    for (_, old) in newest_first(folder)?.into_iter().skip(KEPT - 1) {
        match fs::remove_file(&old) {
            Ok(()) => {}
            // Another run tidies up as well.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // `2026-01-31T12-00-00.000Z-12345.ackrec`: in order of time, and no two processes take the same.
    let now = Clock::default().now().to_string().replace(':', "-");
    Ok(folder.join(format!("{now}-{}.{EXTENSION}", std::process::id())))
}

/// A file could not be made there.
#[derive(Debug, thiserror::Error)]
#[error("the run is not recorded: {}: {error}", folder.display())]
pub struct NoPlace {
    folder: PathBuf,
    error: io::Error,
}

/// How a run is recorded that names no file: to a new file in the folder, up to [`BYTES_MAX`]. `None` without a folder.
pub fn options(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<RecordOptions>, NoPlace> {
    let Some(folder) = folder(variable) else { return Ok(None) };
    match new_file(&folder) {
        Ok(file) => Ok(Some(RecordOptions { bytes_max: Some(BYTES_MAX), ..RecordOptions::to(file) })),
        Err(error) => Err(NoPlace { folder, error }),
    }
}

/// The newest recording there.
pub fn latest(folder: &Path) -> io::Result<Option<PathBuf>> {
    Ok(newest_first(folder)?.into_iter().next().map(|(_, file)| file))
}

/// The recordings there, the newest first.
pub fn all(folder: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(newest_first(folder)?.into_iter().map(|(_, file)| file).collect())
}

fn newest_first(folder: &Path) -> io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let is_ours = path.extension().is_some_and(|extension| extension == EXTENSION);
        // One that went meanwhile is not there.
        if is_ours && let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) {
            files.push((modified, path));
        }
    }
    files.sort_by(|one, other| other.cmp(one));
    Ok(files)
}
