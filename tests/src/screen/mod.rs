//! What a person has in front of them: the real programs, a display, a browser; and an observer of what the
//! harness says about it.
//!
//! | module | one sentence |
//! |---|---|
//! | [`program`] | starts a program of the product and reads the line it prints when it is ready |
//! | [`display`] | a display in memory with a hand on its keyboard and an eye on its pixels |
//! | [`chromium`] | a browser without a window, driven through its DevTools protocol |
//! | [`bus`] | a message bus of its own, for programs that find each other on it |
//! | [`home`] | the folders of a person nobody else is: settings, state and caches |
//! | [`picture`] | what is to be seen: pixels to count, a PNG file to keep |
//! | [`person`] | hands and eyes, whether on a display or in a browser |
//! | [`story`] | what a person does from the first message to a scenario that passes without them |
//! | [`observer`] | a second interface on the control connection, which only reads the trace |
//! | [`waiting`] | waiting for a condition, never for a while |

pub mod bus;
pub mod chromium;
pub mod display;
pub mod home;
pub mod observer;
pub mod person;
pub mod picture;
pub mod program;
pub mod story;
pub mod waiting;

use std::path::{Path, PathBuf};

/// Where tests leave pictures for people: `tests/output`, which git ignores.
pub fn output_dir() -> std::io::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("output");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
