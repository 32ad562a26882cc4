//! `ackscope compare`: two recordings beside each other.

use std::io;
use std::path::Path;

use ackscope_harness::compare::{self, Floor};
use ackscope_harness::recording::Recording;
use ackscope_harness::report::paint::Paint;

use super::args::CompareArgs;
use super::{Exit, Outcome, Trouble, out};

/// Compares, prints, and ends with 1 when something became worse.
pub(crate) fn compare(args: &CompareArgs) -> Outcome {
    let open = |file: &Path| Recording::open(file).map_err(Trouble::usage);
    let (before, after) = (open(&args.before)?, open(&args.after)?);
    let floor = Floor { percent: args.min_percent, ms: args.min_ms };
    let comparison = compare::compare(&before, &after, floor);
    if args.json {
        out::json(&comparison)?;
    } else {
        let table = compare::table(&comparison, Paint::for_stream(&io::stdout()));
        out::text(&out::harmless(&table));
    }
    Ok(if comparison.is_regression() { Exit::Fail } else { Exit::Pass })
}
