//! Faults that end by themselves after a time.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use ackscope_protocol::faults::{Dependency, Fault};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::world::{World, WorldError};

/// Faults that are to end by themselves, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: Mutex<Vec<(Instant, Dependency)>>,
    changed: Notify,
    failed: Mutex<Option<(Dependency, WorldError)>>,
}

impl Schedule {
    /// Sets a fault; after `lasts`, if that is said, it is healed.
    pub(crate) async fn set(
        &self,
        world: &World,
        on: Dependency,
        fault: Fault,
        lasts: Option<Duration>,
    ) -> Result<(), WorldError> {
        if !fault.kind().is_once() {
            self.forget(Some(on));
        }
        world.set_fault(on, fault).await?;
        if let Some(lasts) = lasts.filter(|_| !fault.kind().is_once()) {
            self.due.lock().push((Instant::now() + lasts, on));
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Ends one fault, or all of them.
    pub(crate) async fn heal(&self, world: &World, on: Option<Dependency>) -> Result<(), WorldError> {
        self.forget(on);
        match on {
            Some(on) => world.heal(on).await,
            None => world.reset_faults().await.map(drop),
        }
    }

    /// What could not be healed when its time had come, and why.
    pub(crate) fn failure(&self) -> Option<(Dependency, WorldError)> {
        self.failed.lock().take()
    }

    fn forget(&self, on: Option<Dependency>) {
        self.due.lock().retain(|(_, due)| on.is_some_and(|on| *due != on));
    }

    /// Heals what is due, for good. Runs beside whatever goes on.
    pub(crate) async fn run(&self, world: &World) -> Infallible {
        loop {
            let next = self.due.lock().iter().min_by_key(|(at, _)| *at).copied();
            let Some((at, on)) = next else {
                self.changed.notified().await;
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {
                    let healed = world.heal(on).await;
                    // Only now: dropped on the way it is done again beside the next step.
                    self.due.lock().retain(|due| *due != (at, on));
                    if let Err(error) = healed {
                        self.failed.lock().get_or_insert((on, error));
                    }
                }
                () = self.changed.notified() => {}
            }
        }
    }

    /// Ends everything that is still wrong, and says whether there was anything; or what did
    /// not heal.
    pub(crate) async fn end(&self, world: &World) -> Result<bool, String> {
        self.forget(None);
        let is_wrong = !world.faults().map_err(|error| error.to_string())?.active().is_empty();
        if is_wrong {
            world.reset_faults().await.map_err(|error| error.to_string())?;
        }
        match self.failure() {
            Some((on, error)) => Err(format!("{on} could not be healed: {error}")),
            None => Ok(is_wrong),
        }
    }
}
