//! Where this user's things are that outlive a run: the signing key, locks, recordings.

use std::ffi::OsString;
use std::path::PathBuf;

/// `${XDG_STATE_HOME:-~/.local/state}/ackscope`; none when neither that nor `HOME` is set to an absolute path.
pub fn state_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("ackscope"))
}
