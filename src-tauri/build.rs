//! Lets Tauri embed the icon, the splash page and the (empty) capabilities.

fn main() {
    tauri_build::build();
}
