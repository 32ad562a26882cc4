//! Plays cells and says what came.
//!
//! All scenes are set first. Once everything has come to rest it is written down what there is, then the cells are
//! played side by side, each in conversations of its own, and once everything has come to rest again both are
//! compared. Cells that have a moment in business time are played in a world of their own, one after the other.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use ackscope_protocol::wire::ServerEvent;
use ackscope_protocol::{ConversationId, UserId};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::cell::{Cell, Got, Leaves, Look};
use super::scene::Scene;
use super::stage::{Failure, STRANGER, Stage};
use super::unchanged::{self, LookError, Records, Snapshot};
use crate::environment::EnvironmentOptions;
use crate::world::WorldError;

/// Scenes that are set, or cells that are played, at the same time.
const AT_ONCE: usize = 32;
/// How often cells whose moment passed before the answer came are played again.
const ROUNDS_MAX: usize = 5;

/// Why the matrix could not be played.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// The world failed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// It cannot be said what there is.
    #[error(transparent)]
    Look(#[from] LookError),
    /// Somebody asked to end.
    #[error("interrupted; nothing was proved")]
    Interrupted,
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Scenes are set.
    Setting(usize),
    /// Cells are played.
    Playing(usize),
    /// What they left is compared.
    Comparing(usize),
    /// Cells are played at their moments.
    PlayingMoments(usize),
}

/// A cell that was played.
#[derive(Clone, Debug)]
pub struct Played {
    /// The cell.
    pub cell: Cell,
    /// What came.
    pub got: Got,
    /// What is wrong with what it left behind, or did not.
    pub wrongs: Vec<String>,
}

impl Played {
    /// Whether what came is what was expected.
    pub fn is_answered_as_expected(&self) -> bool {
        self.cell.expected.is_met_by(&self.got)
    }

    /// Whether everything is as expected: what came and what was left.
    pub fn is_as_expected(&self) -> bool {
        self.is_answered_as_expected() && self.wrongs.is_empty()
    }

    /// Whether it was refused as expected and left nothing.
    pub fn is_refused_and_unchanged(&self) -> bool {
        self.cell.expected.is_refused() && self.is_as_expected()
    }
}

/// What came of a matrix.
#[derive(Clone, Debug)]
pub struct MatrixReport {
    /// Every cell.
    pub played: Vec<Played>,
    /// What is wrong and cannot be laid to one cell.
    pub problems: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl MatrixReport {
    /// Whether everything is as expected.
    pub fn is_as_expected(&self) -> bool {
        self.problems.is_empty() && self.played.iter().all(Played::is_as_expected)
    }

    /// The cells that are not as expected.
    pub fn mismatches(&self) -> impl Iterator<Item = &Played> {
        self.played.iter().filter(|played| !played.is_as_expected())
    }
}

/// What cells are played on.
#[derive(Clone, Debug, Default)]
pub struct MatrixOptions {
    /// The backend.
    pub environment: EnvironmentOptions,
    /// Ends it early.
    pub end: CancellationToken,
}

/// Plays cells, in worlds of their own.
pub async fn play(
    cells: Vec<Cell>,
    options: &MatrixOptions,
    mut on_progress: impl FnMut(Progress),
) -> Result<MatrixReport, MatrixError> {
    let began = Instant::now();
    let (mut timed, any_time): (Vec<_>, Vec<_>) =
        cells.into_iter().enumerate().partition(|(_, cell)| cell.moment.is_some());
    let mut report = MatrixReport { played: Vec::new(), problems: Vec::new(), took: Duration::ZERO };
    let mut played: Vec<(usize, Played)> = Vec::new();
    if !any_time.is_empty() {
        played.extend(round(any_time, options, &mut report.problems, &mut on_progress).await?);
    }
    for rounds_left in (0..ROUNDS_MAX).rev() {
        if timed.is_empty() {
            break;
        }
        on_progress(Progress::PlayingMoments(timed.len()));
        let again = round(std::mem::take(&mut timed), options, &mut report.problems, &mut |_| {}).await?;
        for (number, cell) in again {
            if cell.got == Got::Late && rounds_left > 0 {
                timed.push((number, cell.cell));
            } else {
                played.push((number, cell));
            }
        }
    }
    played.sort_by_key(|(number, _)| *number);
    report.played = played.into_iter().map(|(_, played)| played).collect();
    report.took = began.elapsed();
    Ok(report)
}

/// A cell with its number and what was made ready for it.
struct Ready {
    number: usize,
    cell: Cell,
    scene: Result<Scene, Failure>,
}

/// A cell that was played, before it is known what it left.
struct Done {
    number: usize,
    cell: Cell,
    got: Got,
    watched: BTreeSet<ConversationId>,
    people: Option<People>,
}

/// Who a cell is about.
struct People {
    caller: UserId,
    observer: UserId,
}

/// Plays cells in a world of their own.
async fn round(
    cells: Vec<(usize, Cell)>,
    options: &MatrixOptions,
    problems: &mut Vec<String>,
    on_progress: &mut impl FnMut(Progress),
) -> Result<Vec<(usize, Played)>, MatrixError> {
    let stage = Stage::start(options.environment.clone()).await?;
    // Whatever happens, the world is ended and its files go.
    let played = tokio::select! {
        played = round_on(&stage, cells, problems, on_progress) => played,
        () = options.end.cancelled() => Err(MatrixError::Interrupted),
    };
    stage.end().await;
    played
}

async fn round_on(
    stage: &Stage,
    cells: Vec<(usize, Cell)>,
    problems: &mut Vec<String>,
    on_progress: &mut impl FnMut(Progress),
) -> Result<Vec<(usize, Played)>, MatrixError> {
    on_progress(Progress::Setting(cells.len()));
    let is_timed = cells.iter().any(|(_, cell)| cell.moment.is_some());
    // What is done side by side with the filling of a cache would also fill it.
    let at_once = if is_timed { 1 } else { AT_ONCE };
    let set = async |(number, cell): (usize, Cell)| {
        let scene = Scene::set(stage, &cell.scene).await;
        Ready { number, cell, scene }
    };
    let mut ready: Vec<Ready> = stream::iter(cells).map(set).buffer_unordered(at_once).collect().await;
    stage.quiesce().await?;

    let conversations = ready.iter().flat_map(|ready| &ready.scene).flat_map(|scene| &scene.watched).copied().collect();
    let before = Snapshot::take(stage, &conversations).await?;
    let marks = unchanged::event_marks(stage);

    on_progress(Progress::Playing(ready.len()));
    if is_timed {
        ready.sort_by_key(|ready| match (&ready.cell.moment, &ready.scene) {
            (Some(moment), Ok(scene)) => (moment.from_ms)(scene),
            _ => 0,
        });
    }
    let done: Vec<Done> = stream::iter(ready).map(|ready| play_one(stage, ready)).buffered(at_once).collect().await;
    stage.quiesce().await?;

    on_progress(Progress::Comparing(done.len()));
    let known: BTreeSet<ConversationId> = done.iter().flat_map(|done| &done.watched).copied().collect();
    let after = Snapshot::take(stage, &known).await?;
    let records = before.records_since(&stage.world().backend()?).await?;
    let told = unchanged::told_since(stage, &marks);
    problems.extend(records.of_nobody(&known));
    problems.extend(unchanged::listed_of_nobody(&before, &after, &known));
    let dropped = stage.world().users().into_iter().filter(|user| !user.is_connected());
    problems.extend(dropped.map(|user| format!("the connection of {} is gone", user.user_id())));
    // A stranger's own requests never change anything but its own groups, of which nobody else is told.
    let outside = [STRANGER.parse::<UserId>()].into_iter().flatten().collect::<Vec<_>>();
    let what_is_left = Left { before: &before, after: &after, records: &records, told: &told, outside: &outside };
    Ok(done.into_iter().map(|done| what_is_left.judge(done)).collect())
}

async fn play_one(stage: &Stage, ready: Ready) -> Done {
    let Ready { number, cell, scene } = ready;
    let scene = match scene {
        Ok(scene) => scene,
        Err(failure) => {
            let got = Got::Failed(failure.to_string());
            return Done { number, cell, got, watched: BTreeSet::new(), people: None };
        }
    };
    let mut watched = scene.watched.clone();
    let people = Some(People { caller: scene.caller.user_id().clone(), observer: scene.observer.user_id().clone() });
    let got = match ask(stage, &cell, &scene, &mut watched).await {
        Ok(got) => got,
        Err(failure) => Got::Failed(failure.to_string()),
    };
    Done { number, cell, got, watched, people }
}

/// Asks at the cell's moment, and looks at what came.
async fn ask(
    stage: &Stage,
    cell: &Cell,
    scene: &Scene,
    watched: &mut BTreeSet<ConversationId>,
) -> Result<Got, Failure> {
    let now_ms = || stage.world().business_now().as_millis();
    if let Some(moment) = &cell.moment {
        let ahead_ms = (moment.from_ms)(scene) - now_ms();
        if let Ok(ahead_ms @ 1..) = u64::try_from(ahead_ms) {
            stage.world().advance_clock(ahead_ms);
        }
    }
    let outcome = stage.ask(&scene.caller, &(cell.ask)(scene)).await?;
    // A conversation that was made belongs to the cell that made it.
    if let Ok(data) = &outcome
        && let Some(made) = data["conversation"]["conversation_id"].as_str()
    {
        watched.extend(made.parse::<ConversationId>());
    }
    let look = cell.look.as_ref().filter(|_| outcome.is_err() == cell.expected.is_refused());
    let got = match outcome {
        Ok(data) => Got::Ok { seen: seen(stage, look, scene, &data).await? },
        Err(error) => {
            let said = serde_json::to_value(&error).unwrap_or_default();
            Got::Refused { seen: seen(stage, look, scene, &said).await?, error }
        }
    };
    let until_ms = cell.moment.as_ref().and_then(|moment| moment.until_ms.as_ref());
    let is_late = until_ms.is_some_and(|until_ms| now_ms() > until_ms(scene));
    Ok(if is_late { Got::Late } else { got })
}

async fn seen(stage: &Stage, look: Option<&Look>, scene: &Scene, said: &Value) -> Result<Option<String>, Failure> {
    match look {
        Some(look) => look(stage, scene, said).await.map(Some),
        None => Ok(None),
    }
}

/// What there was, what there is, and what happened between.
struct Left<'a> {
    before: &'a Snapshot,
    after: &'a Snapshot,
    records: &'a Records,
    told: &'a HashMap<ConversationId, Vec<(UserId, ServerEvent)>>,
    /// Users who are in none of the conversations something happens in.
    outside: &'a [UserId],
}

impl Left<'_> {
    fn judge(&self, done: Done) -> (usize, Played) {
        let Done { number, cell, got, watched, people } = done;
        let wrongs = match (&got, &people) {
            // It is wrong already, and what it left is no news.
            (Got::Failed(_) | Got::Late, _) | (_, None) => Vec::new(),
            (Got::Ok { .. }, _) if cell.expected.is_refused() => Vec::new(),
            (Got::Refused { .. }, Some(people)) => self.something_left(&watched, people, true),
            (Got::Ok { .. }, Some(people)) => match cell.leaves {
                Leaves::Nothing => self.something_left(&watched, people, false),
                Leaves::TheSame => {
                    watched.iter().flat_map(|id| unchanged::visible_changes(*id, self.before, self.after)).collect()
                }
                Leaves::Something => self.nothing_left(&cell, &watched, people),
            },
        };
        (number, Played { cell, got, wrongs })
    }

    fn told_in(&self, watched: &BTreeSet<ConversationId>) -> Vec<(UserId, ServerEvent)> {
        watched.iter().filter_map(|id| self.told.get(id)).flatten().cloned().collect()
    }

    /// What there is although nothing may have happened.
    fn something_left(&self, watched: &BTreeSet<ConversationId>, people: &People, is_refused: bool) -> Vec<String> {
        let changes = watched.iter().flat_map(|id| unchanged::changes(*id, self.before, self.after, self.records));
        let told = unchanged::wrongly_told(&people.caller, is_refused, &self.told_in(watched));
        changes.chain(told).collect()
    }

    /// What is missing although something must have happened, and who was told and must not have been.
    fn nothing_left(&self, cell: &Cell, watched: &BTreeSet<ConversationId>, people: &People) -> Vec<String> {
        if !watched.iter().any(|id| self.records.has(*id)) {
            return vec!["it was carried out and the log has nothing of it".to_owned()];
        }
        let told = self.told_in(watched);
        unchanged::wrong_audience(cell.told, &people.caller, &people.observer, self.outside, &told)
    }
}
