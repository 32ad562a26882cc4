//! Hands and eyes, whether on a display or in a browser.

use anyhow::Result;

use super::picture::Picture;

/// Somebody who uses the interface by its keys and sees what it draws.
#[expect(async_fn_in_trait, reason = "tests wait for it where they are and send it to no other thread")]
pub trait Person {
    /// Types `text` where the text cursor is.
    async fn type_text(&mut self, text: &str) -> Result<()>;

    /// Presses a key by its X name, such as `Return` or `ctrl+k`.
    async fn press(&mut self, key: &str) -> Result<()>;

    /// What is to be seen now.
    async fn look(&mut self) -> Result<Picture>;
}
