//! Puts the built interface (`ui/dist`) into the binary, when it is there.
//!
//! It is not needed for building: without it the server shows a page that says how to build it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const FILES: [&str; 3] = ["index.html", "ackscope_ui.js", "ackscope_ui_bg.wasm"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = env::var("CARGO_MANIFEST_DIR")?;
    let ui = Path::new(&manifest).join("../ui");
    let dist = ui.join("dist");
    let complete = FILES.iter().all(|name| dist.join(name).is_file());
    if complete {
        for name in FILES {
            println!("cargo::rerun-if-changed={}", dist.join(name).display());
        }
    } else {
        // Cargo takes a path that is not there for one that changed, every time; the folder above is there.
        println!("cargo::rerun-if-changed={}", if dist.is_dir() { &dist } else { &ui }.display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let mut code = String::from("pub(super) const FILES: &[(&str, &[u8])] = &[");
    if complete {
        for name in FILES {
            let path = fs::canonicalize(dist.join(name))?;
            write!(code, "({name:?}, include_bytes!({:?})),", path.display().to_string())?;
        }
    }
    code.push_str("];\n");
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("interface_files.rs"), code)?;
    Ok(())
}
