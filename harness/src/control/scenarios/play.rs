//! Plays a scenario where an interface looks on, and can hold it at each step.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::control::{Go, ScenarioProgress, ScenarioState, StepOutcome, StepProgress};
use ackscope_protocol::error::{ErrorCode, WireError};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::requests::invalid;
use crate::control::{LateReport, ScenarioOptions, Shared, Shown};
use crate::recording::format::RecordedReport;
use crate::report::micros;
use crate::scenario::{self, RunOptions, RunReport, Scenario, StepResult, Verdict, Watcher, run_watched};
use crate::world::{World, WorldOptions};

/// How long a scenario may take to stop: its world may be starting.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a world may take to go when everything ends: containers are removed with it.
const WORLDS_LIMIT: Duration = Duration::from_mins(1);

/// Where scenarios are played.
pub(in crate::control) struct Theatre {
    options: Option<ScenarioOptions>,
    /// Held while a scenario is begun or put away.
    order: tokio::sync::Mutex<()>,
    current: Mutex<Option<Arc<Play>>>,
    progress: Mutex<Option<ScenarioProgress>>,
    /// Grows with every change of the progress.
    changes: watch::Sender<u64>,
    /// Scenarios that are played and worlds that go.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A scenario that is played or was, and its world.
struct Play {
    name: String,
    modes: watch::Sender<Mode>,
    stop: CancellationToken,
    /// Cancelled when nothing of it runs any more.
    over: CancellationToken,
    world: Mutex<Option<Arc<World>>>,
}

/// What happens before the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Continue,
    Pause,
    /// Play one step, then pause.
    Step,
}

impl Theatre {
    pub(in crate::control) fn new(options: Option<ScenarioOptions>, stop: CancellationToken) -> Self {
        Self {
            options,
            order: tokio::sync::Mutex::default(),
            current: Mutex::default(),
            progress: Mutex::default(),
            changes: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            stop,
        }
    }

    pub(super) fn options(&self) -> Result<&ScenarioOptions, WireError> {
        self.options.as_ref().ok_or_else(|| invalid("no scenarios are played here"))
    }

    /// How the scenario goes that is shown, if one is.
    pub(in crate::control) fn progress(&self) -> Option<ScenarioProgress> {
        self.progress.lock().clone()
    }

    /// Tells when the progress changes; 0 before the first time.
    pub(in crate::control) fn news(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn set(&self, progress: Option<ScenarioProgress>) {
        *self.progress.lock() = progress;
        self.changes.send_modify(|change| *change += 1);
    }

    fn change(&self, change: impl FnOnce(&mut ScenarioProgress)) {
        if let Some(progress) = &mut *self.progress.lock() {
            change(progress);
        }
        self.changes.send_modify(|change| *change += 1);
    }

    fn playing(&self) -> Option<Arc<Play>> {
        self.current.lock().clone().filter(|play| !play.over.is_cancelled())
    }

    /// Goes on with the scenario that is played, or ends it.
    pub(super) fn go(&self, go: Go) -> Result<(), WireError> {
        let play = self.playing().ok_or_else(|| invalid("no scenario is being played"))?;
        match go {
            Go::Step => drop(play.modes.send_replace(Mode::Step)),
            Go::Continue => drop(play.modes.send_replace(Mode::Continue)),
            Go::Pause => drop(play.modes.send_replace(Mode::Pause)),
            Go::Stop => play.stop.cancel(),
        }
        Ok(())
    }

    /// Ends what is played and lets its world go, which goes on when this returns.
    async fn put_away(&self) -> Result<(), WireError> {
        let Some(play) = self.current.lock().clone() else { return Ok(()) };
        play.stop.cancel();
        if tokio::time::timeout(STOP_LIMIT, play.over.cancelled()).await.is_err() {
            let sentence = format!("the scenario `{}` did not stop within {} s", play.name, STOP_LIMIT.as_secs());
            return Err(WireError::new(ErrorCode::Internal, sentence));
        }
        *self.current.lock() = None;
        if let Some(world) = play.world.lock().take() {
            self.tasks.spawn(async move { world.shutdown().await });
        }
        Ok(())
    }

    /// Ends everything, and waits until nothing is left of it.
    pub(in crate::control) async fn close(&self) {
        self.stop.cancel();
        let _order = self.order.lock().await;
        if let Err(error) = self.put_away().await {
            tracing::warn!(%error, "a scenario is left behind");
        }
        self.tasks.close();
        if tokio::time::timeout(WORLDS_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("the world of a scenario did not end in time");
        }
    }
}

/// Begins a scenario. What it is shown as is told as its progress from here on.
pub(super) async fn run(
    shared: &Arc<Shared>,
    scenario: Scenario,
    paused: bool,
    breakpoints: Vec<u32>,
) -> Result<(), WireError> {
    let theatre = &shared.theatre;
    let options = theatre.options()?.world.clone();
    let _order = theatre.order.lock().await;
    if theatre.stop.is_cancelled() {
        return Err(WireError::new(ErrorCode::Internal, "the harness ends"));
    }
    if let Some(playing) = theatre.playing() {
        let sentence = format!("the scenario `{}` is being played; end it first, or wait for it", playing.name);
        return Err(WireError::new(ErrorCode::Overloaded, sentence));
    }
    theatre.put_away().await?;
    let name = scenario.name().to_owned();
    let play = Arc::new(Play {
        name: name.clone(),
        modes: watch::Sender::new(if paused { Mode::Pause } else { Mode::Continue }),
        stop: theatre.stop.child_token(),
        over: CancellationToken::new(),
        world: Mutex::default(),
    });
    *theatre.current.lock() = Some(Arc::clone(&play));
    theatre.set(Some(ScenarioProgress { name, state: ScenarioState::Starting, steps: Vec::new(), summary: None }));
    let (shared, breakpoints) = (Arc::clone(shared), stops(&scenario, &breakpoints));
    theatre.tasks.spawn(async move {
        // Whatever ends it, nobody waits for it any more.
        let _over = play.over.clone().drop_guard();
        perform(&shared, &play, &scenario, breakpoints, options).await;
        shared.theatre.change(|progress| {
            if !progress.state.is_over() {
                progress.state = ScenarioState::Stopped;
                progress.summary.get_or_insert_with(|| "it was ended".to_owned());
            }
        });
    });
    Ok(())
}

/// Shows the first run again; ends a scenario that is still played, and its world.
pub(super) async fn show_live(shared: &Arc<Shared>) -> Result<(), WireError> {
    let _order = shared.theatre.order.lock().await;
    shared.shown.send_replace(Arc::clone(&shared.first));
    shared.theatre.put_away().await?;
    shared.theatre.set(None);
    Ok(())
}

/// The steps, by number from 1, that one of these lines is in: from the line a step begins at up to the next one's.
fn stops(scenario: &Scenario, lines: &[u32]) -> BTreeSet<usize> {
    let begins: BTreeSet<u32> = scenario.lines.iter().copied().collect();
    let stop_at: BTreeSet<u32> = lines.iter().filter_map(|line| begins.range(..=line).next_back()).copied().collect();
    let of = |(index, line): (usize, &u32)| stop_at.contains(line).then_some(index + 1);
    scenario.lines.iter().enumerate().filter_map(of).collect()
}

async fn perform(
    shared: &Shared,
    play: &Play,
    scenario: &Scenario,
    breakpoints: BTreeSet<usize>,
    options: WorldOptions,
) {
    let theatre = &shared.theatre;
    let seed = fastrand::u64(..=u64::from(u32::MAX));
    let started = tokio::select! {
        biased;
        () = play.stop.cancelled() => return,
        started = World::start(WorldOptions { seed, ..options }) => started,
    };
    let world = match started {
        Ok(world) => Arc::new(world),
        Err(error) => {
            let summary = format!("its backend could not start: {error}");
            // The one before is put away, and there is nothing to see in it.
            shared.shown.send_replace(Arc::clone(&shared.first));
            theatre.change(|progress| {
                progress.state = ScenarioState::Failed;
                progress.summary = Some(summary);
            });
            return;
        }
    };
    *play.world.lock() = Some(Arc::clone(&world));
    let late = LateReport::default();
    shared.shown.send_replace(Arc::new(Shown::Played(Arc::clone(&world), Arc::clone(&late))));
    theatre.change(|progress| progress.state = ScenarioState::Running);
    let mut follower = Follower { theatre, scenario, breakpoints, play };
    let options = RunOptions { seed, pace: None };
    let report = tokio::select! {
        biased;
        () = play.stop.cancelled() => None,
        report = run_watched(&world, scenario, &options, &mut follower) => Some(report),
    };
    match report {
        Some(report) => {
            let (state, summary) = summary(&report);
            // Nobody else sets it.
            late.get_or_init(|| RecordedReport::of(&report));
            theatre.change(|progress| {
                progress.state = state;
                progress.summary = Some(summary);
            });
        }
        None => theatre.change(|progress| {
            let at = progress.steps.last().map_or_else(String::new, |step| format!(" at line {}", step.line));
            progress.state = ScenarioState::Stopped;
            progress.summary = Some(format!("it was ended{at}; nothing was proved"));
        }),
    }
}

/// What a run proved, for people.
fn summary(report: &RunReport) -> (ScenarioState, String) {
    let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    match report.verdict() {
        Verdict::Pass => {
            let steps = report.steps.iter().filter(|step| !step.is_mark).count();
            let promises = report.audit.promises.total() as usize;
            let (steps, promises) = (counted(steps, "step"), counted(promises, "promise"));
            (ScenarioState::Passed, format!("{steps} passed and {promises} kept, in {}", micros(report.took_us)))
        }
        Verdict::Fail | Verdict::Inconclusive => {
            let why = report.why_not().unwrap_or_else(|| "it did not pass".to_owned());
            (ScenarioState::Failed, why)
        }
    }
}

/// Tells how a scenario goes, and holds it where somebody wants it held.
struct Follower<'a> {
    theatre: &'a Theatre,
    scenario: &'a Scenario,
    breakpoints: BTreeSet<usize>,
    play: &'a Play,
}

impl Follower<'_> {
    /// The line of the scenario itself, where the step is one of it.
    fn line(&self, step: &StepResult) -> u32 {
        self.scenario.lines.get(step.number.wrapping_sub(1)).copied().unwrap_or(step.line)
    }

    fn is_in_file(&self, step: &StepResult) -> bool {
        step.number <= self.scenario.lines.len()
    }
}

impl Watcher for Follower<'_> {
    fn before<'a>(&'a mut self, step: &'a StepResult) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (line, title) = (self.line(step), step.title.clone());
            self.theatre
                .change(|progress| progress.steps.push(StepProgress { line, title, outcome: StepOutcome::Waiting }));
            let mut stops_here = self.breakpoints.contains(&step.number);
            let mut modes = self.play.modes.subscribe();
            loop {
                let mode = *modes.borrow_and_update();
                match mode {
                    Mode::Continue if stops_here => {
                        // Once: whoever goes on from here goes on.
                        stops_here = false;
                        self.play.modes.send_if_modified(|mode| replace(mode, Mode::Continue, Mode::Pause));
                    }
                    Mode::Continue => break,
                    Mode::Step => {
                        self.play.modes.send_if_modified(|mode| replace(mode, Mode::Step, Mode::Pause));
                        break;
                    }
                    Mode::Pause => {
                        stops_here = false;
                        self.theatre.change(|progress| progress.state = ScenarioState::Paused);
                        // The sender is in the play, so this waits.
                        if modes.changed().await.is_err() {
                            break;
                        }
                    }
                }
            }
            self.theatre.change(|progress| {
                progress.state = ScenarioState::Running;
                if let Some(last) = progress.steps.last_mut() {
                    last.outcome = StepOutcome::Running;
                }
            });
        })
    }

    fn after(&mut self, step: &StepResult) {
        let took_us = step.took_us;
        let failed = |message: String| StepOutcome::Failed { message, message_id: step.messages.first().copied() };
        let outcome = match &step.outcome {
            scenario::StepOutcome::Passed => StepOutcome::Passed { took_us },
            scenario::StepOutcome::Failed { expected, found } => failed(format!("expected {expected}, found {found}")),
            scenario::StepOutcome::Inconclusive { reason } => failed(reason.clone()),
            // Those the scenario did not come to are not told.
            scenario::StepOutcome::Skipped => return,
        };
        let (line, title, is_in_file) = (self.line(step), step.title.clone(), self.is_in_file(step));
        self.theatre.change(|progress| {
            let progress_step = StepProgress { line, title, outcome };
            match progress.steps.last_mut().filter(|_| is_in_file) {
                Some(last) => *last = progress_step,
                None => progress.steps.push(progress_step),
            }
        });
    }
}

/// Puts one mode in the place of another, unless somebody chose a third one meanwhile.
fn replace(mode: &mut Mode, from: Mode, to: Mode) -> bool {
    let is_it = *mode == from;
    if is_it {
        *mode = to;
    }
    is_it
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakpoint_holds_the_step_its_line_is_in() {
        let text = "scenario: Stops\nusers: [ana, ben]\nsteps:\n  - mark: One\n\n  - create:\n      as: ana\n      \
                    id: talk\n      kind: direct\n      with: [ben]\n  - for:\n      each: n\n      in: [1, 2]\n      \
                    steps:\n        - mark: Round $(n)\n  - mark: End\n";
        let scenario = Scenario::read("stops.yaml", text).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(scenario.lines, [4, 6, 15, 15, 16]);
        let numbers = |lines: &[u32]| stops(&scenario, lines).into_iter().collect::<Vec<_>>();
        assert_eq!(numbers(&[4]), [1]);
        assert_eq!(numbers(&[5, 8]), [1, 2]);
        assert_eq!(numbers(&[15]), [3, 4]);
        assert_eq!(numbers(&[16, 900]), [5]);
        assert_eq!(numbers(&[1, 0]), Vec::<usize>::new());
    }
}
