//! The key tokens are signed with: made once for each user of the machine, readable by nobody else (S3.9).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ackscope_core::token::TokenKey;

use super::state::state_folder;

/// More bytes than any key has.
const READ_MAX: u64 = 4_096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// Neither `XDG_STATE_HOME` nor `HOME` is set.
    #[error("there is no place for the signing key: neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    /// Others may read it, so what it signs proves nothing.
    #[error(
        "the signing key {} can be read or changed by others (mode {mode:04o}); run `chmod 600 {}`, or remove it to get a new one",
        file.display(), file.display()
    )]
    Permissions {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a key.
    #[error("the signing key {} is damaged ({problem}); remove it to get a new one", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The file system refused.
    #[error("the signing key {} cannot be used: {error}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Where the key is: `${XDG_STATE_HOME:-~/.local/state}/ackscope/token.key`.
pub fn token_key_path(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, TokenKeyError> {
    Ok(state_folder(variable).ok_or(TokenKeyError::NoHome)?.join("token.key"))
}

/// Reads the key, or makes it when there is none. Two processes that come here at once get the same key.
pub fn load_or_create_token_key(file: &Path) -> Result<TokenKey, TokenKeyError> {
    if let Some(key) = read(file)? {
        return Ok(key);
    }
    create(file)?;
    match read(file)? {
        Some(key) => Ok(key),
        None => Err(TokenKeyError::Damaged { file: file.to_owned(), problem: "it vanished".to_owned() }),
    }
}

fn read(file: &Path) -> Result<Option<TokenKey>, TokenKeyError> {
    let failed = |error| TokenKeyError::Io { file: file.to_owned(), error };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // Asked of the open file, so that it is the one that is read.
    check_permissions(file, &opened)?;
    let mut bytes = Vec::new();
    opened.take(READ_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let damaged = |problem: String| TokenKeyError::Damaged { file: file.to_owned(), problem };
    TokenKey::from_bytes(&bytes).map(Some).map_err(|error| damaged(error.to_string()))
}

#[cfg(unix)]
fn check_permissions(file: &Path, opened: &File) -> Result<(), TokenKeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = opened.metadata().map_err(|error| TokenKeyError::Io { file: file.to_owned(), error })?;
    let mode = metadata.permissions().mode() & 0o7777;
    let others = mode & 0o077;
    if others == 0 { Ok(()) } else { Err(TokenKeyError::Permissions { file: file.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_permissions(_: &Path, _: &File) -> Result<(), TokenKeyError> {
    // The user's own folder keeps others out on such a system.
    Ok(())
}

fn create(file: &Path) -> Result<(), TokenKeyError> {
    let failed = |error| TokenKeyError::Io { file: file.to_owned(), error };
    let folder = file.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    create_folder(folder).map_err(failed)?;
    // Written aside (mode 0600 from the start) and put in place whole, unless somebody was first.
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    aside.write_all(TokenKey::generate().as_bytes()).map_err(failed)?;
    aside.as_file().sync_all().map_err(failed)?;
    match aside.persist_noclobber(file) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error.error)),
    }
}

fn create_folder(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_stays() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("deep/ackscope/token.key");
        let first = load_or_create_token_key(&file).unwrap();
        let second = load_or_create_token_key(&file).unwrap();
        assert_eq!(first.as_bytes(), second.as_bytes());
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ackscope/token.key");
        load_or_create_token_key(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let said = load_or_create_token_key(&file).unwrap_err().to_string();
        assert!(said.contains("mode 0640") && said.contains("chmod 600"), "{said}");
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ackscope/token.key");
        load_or_create_token_key(&file).unwrap();
        fs::write(&file, "short").unwrap();
        assert!(matches!(load_or_create_token_key(&file), Err(TokenKeyError::Damaged { .. })));
        assert_eq!(fs::read(&file).unwrap(), b"short");
    }

    #[test]
    fn processes_that_come_at_once_get_one_key() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ackscope/token.key");
        let keys: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let load = || load_or_create_token_key(&file).unwrap().as_bytes().to_vec();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn the_place_follows_the_environment() {
        let path = |state: Option<&str>, home: Option<&str>| {
            token_key_path(|name| if name == "HOME" { home } else { state }.map(OsString::from))
        };
        assert_eq!(path(Some("/s"), Some("/h")).unwrap(), Path::new("/s/ackscope/token.key"));
        assert_eq!(path(None, Some("/h")).unwrap(), Path::new("/h/.local/state/ackscope/token.key"));
        // The XDG specification: a relative path is to be ignored.
        assert_eq!(path(Some("s"), Some("/h")).unwrap(), Path::new("/h/.local/state/ackscope/token.key"));
        assert!(matches!(path(None, None), Err(TokenKeyError::NoHome)));
    }
}
