//! Files whose lock says whether an owner lives.
//!
//! The operating system gives a lock back when its process ends, however it ends, so "is the owner still alive" is
//! asked of the lock and not of a process number, which may mean another process by now.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

/// What a file begins with once its lock is taken; another text is not ours.
const MARK: &str = "ackscope ";
/// Longest text that is read: three addresses.
const TEXT_MAX: u64 = 64 * 1_024;

/// Owns a file that is not there yet, for as long as what this gives is held.
pub(super) fn create(path: &Path, text: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.lock()?;
    mark(file, text)
}

/// Owns a file that may be there from before. `None` when somebody else does.
pub(super) fn take(path: &Path, text: &str) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => mark(file, text).map(Some),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// After the lock is held: who finds no mark leaves the file alone.
fn mark(mut file: File, text: &str) -> io::Result<File> {
    file.set_len(0)?;
    writeln!(file, "{MARK}{text}")?;
    file.sync_all()?;
    Ok(file)
}

/// What the owner said, alive or not. `None` when it is no file of ours.
pub(super) fn text(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(TEXT_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim_end().strip_prefix(MARK)?.to_owned())
}

/// The file and what its owner said, when that one is gone. It is ours as long as the file is held, so that nobody else
/// takes it for gone at the same time. `None` when the owner lives, and when it is doubtful.
pub(super) fn left(path: &Path) -> Option<(File, String)> {
    let mut file = File::open(path).ok()?;
    let text = text(&mut file)?;
    file.try_lock().is_ok().then_some((file, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner");
        let owner = create(&path, "first").unwrap();
        assert!(create(&path, "second").is_err(), "it is there");
        assert!(take(&path, "second").unwrap().is_none() && left(&path).is_none(), "it lives");
        assert_eq!(text(&mut File::open(&path).unwrap()).unwrap(), "first");
        drop(owner);
        let (held, said) = left(&path).unwrap();
        assert_eq!(said, "first");
        assert!(left(&path).is_none(), "somebody has it");
        drop(held);
        let _owner = take(&path, "2").unwrap().unwrap();
        assert_eq!(text(&mut File::open(&path).unwrap()).unwrap(), "2", "nothing of the first is left in it");
    }

    #[test]
    fn what_is_not_marked_has_no_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner");
        assert!(left(&path).is_none(), "it is not there");
        for other in ["", "somebody else"] {
            std::fs::write(&path, other).unwrap();
            assert!(left(&path).is_none(), "{other}");
        }
        std::fs::write(&path, "ackscope ").unwrap();
        assert!(left(&path).is_none(), "the mark without its space, as it is trimmed");
    }
}
