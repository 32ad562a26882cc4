//! What a person does from the first message to a scenario that passes without them (S4): writes as Ana, takes search
//! down, sees the band, resets, saves what was done, and lets that file be played.

use std::path::PathBuf;
use std::time::Duration;

use ackscope_protocol::trace::Happening;
use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::home::Home;
use super::observer::Observer;
use super::output_dir;
use super::person::Person;
use super::picture::Picture;
use super::program::path_of;
use super::waiting::until;

/// How long a played scenario may take.
const PLAY_LIMIT: Duration = Duration::from_mins(2);
/// A fault's band on the timeline in the light theme: `rejected` at 12 % over `surface`, both of `ui/src/theme.rs`.
const BAND: [u8; 3] = [0xF8, 0xE7, 0xE7];
/// How far a channel may be from that: drivers round differently.
const BAND_TOLERANCE: u8 = 3;
/// Pixels of a column that has the band in it: a band is as high as the timeline.
const BAND_HEIGHT_MIN: usize = 100;
/// Points right of the time axis, at the window's right side: the results in `ui/src/views/timeline.rs`.
const RIGHT_OF_AXIS: u32 = 148;
/// Columns of the axis behind the end of a band, at least: the timeline keeps a twentieth of the axis free behind what
/// happened last.
const FREE_MIN: u32 = 10;
/// How much of its brightness the window loses behind a dialog, at least.
const DIMMED: f64 = 0.9;

/// Does everything, and keeps a picture of each stage as `<name>-<stage>.png`. Returns the scenario that was saved.
pub async fn fault_story<P: Person>(
    person: &mut P,
    observer: &mut Observer,
    home: &Home,
    name: &str,
    limit: Duration,
) -> Result<PathBuf> {
    let mut story = Story { person, name, limit };

    story.say("before the outage", observer).await?;
    // Whoever has seen enough of what a first visit is shown.
    story.person.press("Escape").await?;
    story.choose("timeline count run time").await?;
    let calm = story.keep("1-sent").await?;
    ensure!(band(&calm).is_empty(), "a band is drawn although nothing was broken: {:?}", band(&calm));

    story.choose("break search outage").await?;
    observer.until("search is down", limit, |events| is_broken(events, true)).await?;
    story.say("while search is down", observer).await?;
    // It lasts: the band grows, also while nothing happens, up to where the axis ends.
    let free = |picture: &Picture| Some((picture.width() - RIGHT_OF_AXIS).saturating_sub(*band(picture).last()?));
    story.see("the band of the fault", |picture| free(picture).filter(|free| *free < FREE_MIN)).await?;
    story.keep("2-search-is-down").await?;

    story.choose("reset all faults").await?;
    observer.until("search is healed", limit, |events| is_broken(events, false)).await?;
    story.say("after the outage", observer).await?;
    // It has an end now, and what comes after it is free of it.
    // On a slow machine it may have left the axis by now.
    story.see("the band ends", |picture| free(picture).is_none_or(|free| free > FREE_MIN).then_some(())).await?;
    story.keep("3-reset").await?;

    story.choose("save what was done by hand").await?;
    let file = home.state().join("scenarios/by-hand.yaml");
    // The text cursor stands where the file is named as soon as the harness has written the scenario down; until then
    // Enter means nothing.
    until("the scenario is saved", limit, async || {
        story.person.press("Return").await?;
        Ok(file.is_file().then_some(()))
    })
    .await?;
    let text = std::fs::read_to_string(&file)?;
    for part in ["before the outage", "while search is down", "after the outage", "outage"] {
        ensure!(text.contains(part), "{part:?} is not in the scenario:\n{text}");
    }
    play(&file, home).await?;
    story.keep("4-saved").await?;
    Ok(file)
}

/// Plays a scenario without a window; it must pass.
async fn play(file: &std::path::Path, home: &Home) -> Result<()> {
    let run = Command::new(path_of("ackscope")?)
        .arg("run")
        .arg(file)
        .args(["--backend", "embedded"])
        .current_dir(home.work())
        .envs(home.environment())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PLAY_LIMIT, run).await.context("the scenario did not end in time")??;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the scenario did not pass: {}\n{said}\n{complained}", output.status);
    Ok(())
}

/// Does what the palette finds first for `query`. Returns how bright it is at most behind the palette.
pub async fn choose<P: Person>(person: &mut P, query: &str, limit: Duration) -> Result<f64> {
    let dimmed = person.look().await?.brightness() * DIMMED;
    person.press("ctrl+k").await?;
    let is_open = async || Ok((person.look().await?.brightness() < dimmed).then_some(()));
    until("the palette", limit, is_open).await?;
    person.type_text(query).await?;
    person.press("Return").await?;
    Ok(dimmed)
}

struct Story<'a, P> {
    person: &'a mut P,
    name: &'a str,
    limit: Duration,
}

impl<P: Person> Story<'_, P> {
    /// Writes a message as the first user and sends it.
    async fn say(&mut self, text: &str, observer: &mut Observer) -> Result<()> {
        self.person.press("ctrl+1").await?;
        self.person.type_text(text).await?;
        self.person.press("Return").await?;
        observer.persisted(text, self.limit).await.map(drop)
    }

    /// Does what the palette finds first for `query`.
    async fn choose(&mut self, query: &str) -> Result<()> {
        let dimmed = choose(self.person, query, self.limit).await?;
        self.see("no palette", |picture| (picture.brightness() > dimmed).then_some(())).await
    }

    /// Looks until `find` finds something.
    async fn see<T>(&mut self, what: &str, find: impl Fn(&Picture) -> Option<T>) -> Result<T> {
        let limit = self.limit;
        let seen = until(what, limit, async || Ok(find(&self.person.look().await?))).await;
        if seen.is_err() {
            self.keep("not-seen").await?;
        }
        seen
    }

    /// Keeps what is to be seen.
    async fn keep(&mut self, stage: &str) -> Result<Picture> {
        let picture = self.person.look().await?;
        picture.save(&output_dir()?.join(format!("{}-{stage}.png", self.name)))?;
        Ok(picture)
    }
}

/// The columns that show the band of a fault.
fn band(picture: &Picture) -> Vec<u32> {
    let is_band = |pixel: [u8; 3]| pixel.iter().zip(BAND).all(|(one, other)| one.abs_diff(other) <= BAND_TOLERANCE);
    picture.columns(BAND_HEIGHT_MIN, is_band)
}

/// Whether the last that happened to search is that it broke, or was healed.
fn is_broken(events: &[ackscope_protocol::trace::TraceEvent], wanted: bool) -> Option<()> {
    let last = events.iter().rev().find_map(|event| match &event.what {
        Happening::Fault { target, active, .. } if target == "search" => Some(*active),
        _ => None,
    });
    (last == Some(wanted)).then_some(())
}
