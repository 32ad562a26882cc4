//! The log: one file in the user's state folder, and standard error.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ackscope_harness::environment::state_folder;
use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// Where the filter is read from, as for the command line.
const VARIABLE: &str = "ACKSCOPE_LOG";
/// Bytes after which a new file is begun.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Full files that are kept beside the current one.
const OLD_FILES: usize = 1;

/// Where the log is: `${XDG_STATE_HOME:-~/.local/state}/ackscope/log/ackscope-desktop.log`; full files before it end in
/// `.1`. None without a state folder.
pub(crate) fn place() -> Option<PathBuf> {
    Some(state_folder(|name| std::env::var_os(name))?.join("log/ackscope-desktop.log"))
}

/// Starts logging. Without a file it is standard error alone.
pub(crate) fn start() {
    let filter = |default: &str| EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr).compact().with_filter(filter("warn"));
    let opened = place().map(|file| open(&file, BYTES_MAX).map_err(|error| (file, error)));
    let (file, failed) = match opened {
        Some(Ok(file)) => (Some(file), None),
        Some(Err(failed)) => (None, Some(failed)),
        None => (None, None),
    };
    let file = file.map(|file| {
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Mutex::new(file));
        layer.with_filter(filter("info"))
    });
    tracing_subscriber::registry().with(stderr).with(file).init();
    if let Some((file, error)) = failed {
        tracing::warn!("nothing is logged to {}: {error}", file.display());
    }
    log_panics();
}

/// What panics is in the log too: nobody sees the standard error of a window.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tracing::error!("{panic}");
        before(panic);
    }));
}

fn open(file: &Path, bytes_max: usize) -> io::Result<FileRotate<AppendCount>> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    // People's names and addresses of servers are in it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // The library panics where a file cannot be opened.
    options.open(file)?;
    let suffixes = AppendCount::new(OLD_FILES);
    let limit = ContentLimit::BytesSurpassed(bytes_max);
    Ok(FileRotate::new(file, suffixes, limit, Compression::None, Some(options)))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_log_never_takes_more_than_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("log/a.log");
        let mut log = open(&file, 1_000).expect("it opens");
        for number in 0..500 {
            writeln!(log, "line {number:>90}").expect("it is written");
        }
        let names: Vec<_> = fs::read_dir(folder.path().join("log"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
        let old = fs::metadata(file.with_extension("log.1")).expect("the old one").len();
        assert!((1_000..=1_100).contains(&old), "{old}");
        let text = fs::read_to_string(&file).expect("the current one");
        assert!(text.len() <= 1_100, "{}", text.len());
        // A further start goes on where the last one ended.
        drop(log);
        let mut log = open(&file, 1_000).expect("it opens again");
        writeln!(log, "later").expect("it is written");
        let both = fs::read_to_string(&file).expect("it reads")
            + &fs::read_to_string(file.with_extension("log.1")).expect("it reads");
        assert!(both.contains(&format!("line {:>90}", 499)) && both.contains("later"));
    }
}
