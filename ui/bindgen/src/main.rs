//! Makes what a browser loads of the interface: `ackscope-bindgen WASM DIR` writes `ackscope_ui.js` and
//! `ackscope_ui_bg.wasm` into `DIR`.
//!
//! The command `wasm-bindgen` does the same and brings a test runner with a web server, which takes longer to compile than
//! the rest of it.

use std::path::PathBuf;

use anyhow::Context as _;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (wasm, folder) = arguments.next().zip(arguments.next()).context("Usage: ackscope-bindgen WASM DIR")?;
    let mut bindgen = Bindgen::new();
    // The page does not say where the program is: it lies beside the script.
    bindgen.input_path(&wasm).out_name("ackscope_ui").typescript(false).omit_default_module_path(false).web(true)?;
    bindgen.generate(&folder).with_context(|| format!("making {} of {}", folder.display(), wasm.display()))
}
