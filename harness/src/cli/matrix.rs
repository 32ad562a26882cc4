//! `ackscope matrix`: who may do what, asked of a running backend and held against the table.

use std::io::{self, IsTerminal as _};

use ackscope_harness::matrix::{self, Cell, MatrixError, MatrixOptions, Progress, grid};
use ackscope_harness::report::paint::Paint;
use ackscope_harness::scenario::problem::nearest;

use super::args::{MatrixArgs, environment, load_settings};
use super::{Exit, Outcome, Trouble, out, signals};

/// Plays the cells, prints the grid, and says whether everything was as expected.
pub(crate) async fn matrix(args: MatrixArgs) -> Outcome {
    let cells = match &args.only {
        Some(event) => cells_of(event)?,
        None => matrix::cells(),
    };
    let settings = load_settings(args.backend.flags())?;
    let shown = !args.json && io::stderr().is_terminal();
    let on_progress = |progress| {
        if shown {
            out::note(&said(progress));
        }
    };
    let options = MatrixOptions { environment: environment(&settings, args.json), ..MatrixOptions::default() };
    let playing = matrix::play(cells, &options, on_progress);
    tokio::pin!(playing);
    let report = tokio::select! {
        report = &mut playing => report,
        _ = signals::asked_to_end() => {
            options.end.cancel();
            playing.await
        }
    };
    let report = match report {
        Ok(report) => report,
        Err(error @ MatrixError::Interrupted) => {
            out::note(&error.to_string());
            return Ok(Exit::Inconclusive);
        }
        Err(MatrixError::World(error)) if error.is_usage() => return Err(Trouble::usage(error)),
        Err(error) => return Err(Trouble::environment(error)),
    };
    if args.json {
        out::json(&grid::json(&report))?;
    } else {
        let mut text = Vec::new();
        grid::print(&report, Paint::for_stream(&io::stdout()), &mut text)?;
        out::text(&String::from_utf8_lossy(&text));
    }
    Ok(if report.is_as_expected() { Exit::Pass } else { Exit::Fail })
}

/// The cells of one event.
fn cells_of(event: &str) -> Result<Vec<Cell>, Trouble> {
    let events = matrix::events();
    if events.contains(&event) {
        return Ok(matrix::cells().into_iter().filter(|cell| cell.event == event).collect());
    }
    let problem = match nearest(event, events.iter().copied()) {
        Some(word) => format!("there is no event `{event}`; did you mean `{word}`?"),
        None => format!("there is no event `{event}`; expected one of {}", events.join(", ")),
    };
    Err(Trouble::usage(anyhow::anyhow!(problem)))
}

fn said(progress: Progress) -> String {
    match progress {
        Progress::Setting(cells) => format!("setting {cells} scenes…"),
        Progress::Playing(cells) => format!("playing {cells} cells…"),
        Progress::Comparing(cells) => format!("comparing what {cells} cells left…"),
        Progress::PlayingMoments(cells) => format!("playing {cells} cells at their moments…"),
    }
}
