//! Puts the built interface (`ui/dist`) into the binary, when it is there: compressed, which every browser takes.
//!
//! It is not needed for building: without it the server shows a page that says how to build it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// The page. It is filled in for each answer, so it is not compressed.
const PAGE: &str = "index.html";
/// What the page loads.
const ASSETS: [&str; 2] = ["ackscope_ui.js", "ackscope_ui_bg.wasm"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = env::var("CARGO_MANIFEST_DIR")?;
    let ui = Path::new(&manifest).join("../ui");
    let dist = ui.join("dist");
    let names = || ASSETS.into_iter().chain([PAGE]);
    let complete = names().all(|name| dist.join(name).is_file());
    if complete {
        for name in names() {
            println!("cargo::rerun-if-changed={}", dist.join(name).display());
        }
    } else {
        // Cargo takes a path that is not there for one that changed, every time; the folder above is there.
        println!("cargo::rerun-if-changed={}", if dist.is_dir() { &dist } else { &ui }.display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    let mut code = String::from("pub(super) const PAGE: Option<&str> = ");
    if complete {
        let path = fs::canonicalize(dist.join(PAGE))?;
        write!(code, "Some(include_str!({:?}))", path.display().to_string())?;
    } else {
        code.push_str("None");
    }
    code.push_str(";\npub(super) const ASSETS: &[super::Asset] = &[");
    if complete {
        for name in ASSETS {
            let bytes = fs::read(dist.join(name))?;
            let packed = out.join(format!("{name}.gz"));
            fs::write(&packed, gzip(&bytes)?)?;
            write!(
                code,
                "super::Asset {{ name: {name:?}, hash: \"{}\", bytes: {}, gzip: include_bytes!({:?}) }},",
                hex(&Sha256::digest(&bytes)),
                bytes.len(),
                packed.display().to_string()
            )?;
        }
    }
    code.push_str("];\n");
    fs::write(out.join("interface_files.rs"), code)?;
    Ok(())
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        write!(hex, "{byte:02x}").unwrap_or_default();
        hex
    })
}
