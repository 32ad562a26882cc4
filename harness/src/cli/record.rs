//! Where a run's recording goes.

use std::path::{Path, PathBuf};

use ackscope_harness::recording::{EXTENSION, RecordOptions, place};

use super::args::RecordArgs;
use super::out;

/// The file of the run at an index: the second is `FILE-2` and so on, before the ending.
pub(crate) fn numbered(file: &Path, index: usize) -> PathBuf {
    if index == 0 {
        return file.to_owned();
    }
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", index + 1));
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

/// The recording in a report's folder, which is made if need be.
pub(crate) fn in_report(folder: &Path, index: usize) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|reason| anyhow::anyhow!("cannot write {}: {reason}", folder.display()))?;
    Ok(numbered(&folder.join(format!("recording.{EXTENSION}")), index))
}

/// How a run is recorded that has no folder for a report: as the flags say, else in the state folder. A state
/// folder that cannot be used is said, and keeps nobody from running.
pub(crate) fn by_flags(args: &RecordArgs, index: usize) -> Option<RecordOptions> {
    if let Some(file) = &args.record {
        return Some(RecordOptions::to(numbered(file, index)));
    }
    if args.no_record {
        return None;
    }
    match place::options(|name| std::env::var_os(name)) {
        Ok(options) => options,
        Err(no_place) => {
            out::note(&no_place.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_file_of_its_own() {
        let name = |file: &str, index| numbered(Path::new(file), index).display().to_string();
        assert_eq!(name("a/b.ackrec", 0), "a/b.ackrec");
        assert_eq!(name("a/b.ackrec", 1), "a/b-2.ackrec");
        assert_eq!(name("b", 2), "b-3");
    }
}
