//! The recordings that were opened or saved last.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use ackscope_harness::environment::state_folder;

/// Most recordings that are remembered.
pub(crate) const MAX: usize = 10;
/// Largest list that is read, in bytes.
const BYTES_MAX: u64 = 64 * 1024;

/// The list, newest first, and the file it is kept in.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Absent: it is forgotten with the app.
    file: Option<PathBuf>,
    paths: Vec<PathBuf>,
}

impl Recent {
    /// Reads the list from the user's state folder.
    pub(crate) fn load() -> Self {
        let file = state_folder(|name| std::env::var_os(name)).map(|state| state.join("recent.json"));
        Self::from_file(file)
    }

    fn from_file(file: Option<PathBuf>) -> Self {
        let paths = file.as_deref().map_or_else(Vec::new, |file| match read(file) {
            Ok(paths) => paths,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!("the list of recent recordings begins anew: {}: {error}", file.display());
                Vec::new()
            }
        });
        Self { file, paths }
    }

    /// The recordings, newest first.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Puts a recording at the top.
    pub(crate) fn add(&mut self, path: &Path) {
        self.paths.retain(|known| known != path);
        self.paths.insert(0, path.to_owned());
        self.paths.truncate(MAX);
        self.save();
    }

    /// Takes a recording off the list.
    pub(crate) fn remove(&mut self, path: &Path) {
        self.paths.retain(|known| known != path);
        self.save();
    }

    /// Takes off what is no longer there; returns it.
    pub(crate) fn drop_missing(&mut self) -> Vec<PathBuf> {
        // What cannot be looked at may be there: a disk that is not mounted, a folder of somebody else.
        let is_gone = |path: &Path| matches!(path.try_exists(), Ok(false));
        let (gone, left): (Vec<_>, Vec<_>) = self.paths.drain(..).partition(|path| is_gone(path));
        self.paths = left;
        if !gone.is_empty() {
            self.save();
        }
        gone
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.paths.clear();
        self.save();
    }

    fn save(&self) {
        let Some(file) = &self.file else { return };
        if let Err(error) = write(file, &self.paths) {
            tracing::warn!("the list of recent recordings is not kept: {}: {error}", file.display());
        }
    }
}

fn read(file: &Path) -> io::Result<Vec<PathBuf>> {
    if fs::metadata(file)?.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {BYTES_MAX} bytes")));
    }
    let mut paths: Vec<PathBuf> = serde_json::from_slice(&fs::read(file)?)?;
    paths.retain(|path| path.is_absolute());
    paths.truncate(MAX);
    Ok(paths)
}

/// At once or not at all: a list that is cut is none.
fn write(file: &Path, paths: &[PathBuf]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    // A name that is no Unicode cannot be written; it is the only thing that is lost.
    let paths: Vec<&str> = paths.iter().filter_map(|path| path.to_str()).collect();
    serde_json::to_writer(&mut new, &paths)?;
    new.flush()?;
    new.persist(file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ten_are_kept_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("state/recent.json");
        let mut recent = Recent::from_file(Some(file.clone()));
        assert!(recent.paths().is_empty());
        let path = |number: usize| folder.path().join(format!("{number}.ackrec"));
        for number in 0..=MAX {
            recent.add(&path(number));
        }
        recent.add(&path(5));
        let expected: Vec<_> = [5, 10, 9, 8, 7, 6, 4, 3, 2, 1].map(path).to_vec();
        assert_eq!(recent.paths(), expected);
        assert_eq!(Recent::from_file(Some(file.clone())).paths(), expected);
        recent.remove(&path(5));
        assert_eq!(Recent::from_file(Some(file.clone())).paths(), &expected[1..]);
        fs::write(path(8), "").expect("a file");
        assert_eq!(recent.drop_missing().len(), 8);
        assert_eq!(Recent::from_file(Some(file.clone())).paths(), [path(8)]);
        recent.clear();
        assert!(Recent::from_file(Some(file)).paths().is_empty());
    }

    #[test]
    fn a_list_that_does_not_read_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("recent.json");
        for text in ["", "{", "[1]", &format!("[\"/{}\"]", "x".repeat(70_000))] {
            fs::write(&file, text).expect("a file");
            assert!(Recent::from_file(Some(file.clone())).paths().is_empty());
        }
        fs::write(&file, r#"["relative.ackrec", "/there.ackrec"]"#).expect("a file");
        let mut recent = Recent::from_file(Some(file));
        assert_eq!(recent.paths(), [PathBuf::from("/there.ackrec")]);
        recent.add(Path::new("/other.ackrec"));
        assert_eq!(recent.paths().len(), 2);
    }
}
