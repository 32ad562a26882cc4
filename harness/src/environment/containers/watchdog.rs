//! Removing the containers of a run whose process was killed, right then and not at the next start.
//!
//! A watchdog is a second process of the same program. It waits for the run's lock (`owner.rs`), which the operating
//! system gives it when the run's process ends, however it ends. Where the run has removed its containers it has removed
//! its lock file too, and there is nothing to do.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::owner::Place;
use super::sweep::remove_labelled;
use super::{ContainersError, docker};

/// The first argument of a watchdog; the second is the run.
const ARGUMENT: &str = "--watch-over-containers";
/// How often removing is tried; Docker may be busy with what the killed process had begun.
const TRIES: u32 = 5;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);

/// The program to start as a watchdog, where there is one.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// To be called first in a program's `main`: from then on its containers have a watchdog. True when this process is
/// such a watchdog; its work is done then, and it is to end. Without it containers of a killed process stay until the
/// next start.
pub fn is_watchdog() -> bool {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(ARGUMENT) {
        if let Some(run) = arguments.next() {
            watch(&run);
        }
        return true;
    }
    if let Ok(program) = std::env::current_exe() {
        PROGRAM.get_or_init(|| program);
    }
    false
}

/// Starts a watchdog for a run. None where the program has none, or it does not start: the next start sweeps.
pub(super) fn start(run: &str) -> Option<Child> {
    let mut command = Command::new(PROGRAM.get()?);
    command.args([ARGUMENT, run]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C and a closed terminal are for the group of the run, which it has to outlive.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().inspect_err(|error| tracing::warn!(%error, "the containers have no watchdog")).ok()
}

/// Waits for the end of the run's process and removes what it has left.
fn watch(run: &str) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(async {
        let Ok(Some(dead)) = Place::of_this_user().map(|place| place.wait_for_end(run)) else { return };
        for _ in 0..TRIES {
            if docker::on_docker_threads(remove(dead.label())).await.is_ok_and(|removed| removed.is_ok()) {
                dead.swept();
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
}

async fn remove(label: String) -> Result<(), ContainersError> {
    remove_labelled(&docker::connect().await?, &[label]).await.map(|_| ())
}
