//! The steps `fault` and `heal`: their fields, what is wrong with them, and what they do.

use ackscope_protocol::faults::{Fault, FaultKind, defaults, is_possible, kinds_on};
use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{At, words};
use super::period::{Period, short};
use super::problem::Problem;

/// `fault`: something breaks, until it is healed. A second fault of the same dependency takes the place of the first.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultStep {
    /// What breaks.
    pub target: At<words::Target>,
    /// How. `ackscope faults` prints what each one does and what can have it.
    pub kind: At<words::Kinds>,
    /// For `latency` and `network_latency`: how much later answers come. Absent: 200 ms.
    #[serde(default)]
    pub delay: Option<At<Period>>,
    /// For `latency` and `network_latency`: by up to how much more, drawn for each request. Absent: nothing.
    #[serde(default)]
    pub jitter: Option<At<Period>>,
    /// For `errors`: the share of requests that fails. Absent: half of them.
    #[serde(default)]
    pub share: Option<At<words::Share>>,
    /// For `fail_then_work`, `redeliver` and `poison`: how many. Absent: 3.
    #[serde(default)]
    pub count: Option<At<words::Times>>,
    /// For `bandwidth`: how many bytes a second get through. Absent: 65,536.
    #[serde(default)]
    pub rate: Option<At<words::Rate>>,
    /// Heals it after this time, while the next steps go on. Absent: it lasts until it is healed, at the latest at the
    /// end of the run.
    #[serde(default, rename = "for")]
    pub lasts: Option<At<Period>>,
}

impl FaultStep {
    /// The fault with its figures.
    pub(crate) fn fault(&self) -> Fault {
        let count = self.count.as_ref().map_or(defaults::COUNT, |count| u64::from(count.0));
        let ms = |period: &Option<At<Period>>, absent| {
            period.as_ref().map_or(absent, |period| u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX))
        };
        match self.kind.0 {
            FaultKind::Latency => {
                Fault::Latency { delay_ms: ms(&self.delay, defaults::DELAY_MS), jitter_ms: ms(&self.jitter, 0) }
            }
            FaultKind::NetworkLatency => {
                Fault::NetworkLatency { delay_ms: ms(&self.delay, defaults::DELAY_MS), jitter_ms: ms(&self.jitter, 0) }
            }
            FaultKind::Bandwidth => Fault::Bandwidth {
                bytes_per_second: self.rate.as_ref().map_or(defaults::BYTES_PER_SECOND, |rate| rate.0),
            },
            FaultKind::Errors => {
                Fault::Errors { share: self.share.as_ref().map_or(defaults::SHARE, |share| share.of_one()) }
            }
            FaultKind::FailThenWork => Fault::FailThenWork { count },
            FaultKind::Redeliver => Fault::Redeliver { count },
            FaultKind::Poison => Fault::Poison { count },
            kind => kind.usual(),
        }
    }

    /// After which time it is healed, if that is said.
    pub(super) fn lasts(&self) -> Option<std::time::Duration> {
        self.lasts.as_ref().map(|lasts| lasts.0)
    }

    /// What is wrong with it.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (on, kind) = (self.target.0, self.kind.0);
        if !is_possible(on, kind) {
            let can = kinds_on(on).map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", ");
            problems.push(
                Problem::new(self.kind.place, format!("`{on}` cannot have the fault `{kind}`"))
                    .expected(format!("one of {can}")),
            );
        }
        let counts = matches!(kind, FaultKind::FailThenWork | FaultKind::Redeliver | FaultKind::Poison);
        let delays = matches!(kind, FaultKind::Latency | FaultKind::NetworkLatency);
        for (name, place, belongs) in [
            ("delay", self.delay.as_ref().map(|at| at.place), delays),
            ("jitter", self.jitter.as_ref().map(|at| at.place), delays),
            ("rate", self.rate.as_ref().map(|at| at.place), kind == FaultKind::Bandwidth),
            ("share", self.share.as_ref().map(|at| at.place), kind == FaultKind::Errors),
            ("count", self.count.as_ref().map(|at| at.place), counts),
            ("for", self.lasts.as_ref().map(|at| at.place), !kind.is_once()),
        ] {
            if let Some(place) = place.filter(|_| !belongs) {
                problems.push(Problem::new(place, format!("the fault `{kind}` has no `{name}`")));
            }
        }
        if let (Err(why), Some(place)) = (self.fault().check(), self.delay.as_ref().or(self.jitter.as_ref())) {
            problems.push(Problem::new(place.place, why));
        }
        if let Some(lasts) = self.lasts.as_ref().filter(|lasts| lasts.0.is_zero()) {
            problems.push(Problem::new(lasts.place, "the fault lasts no time at all"));
        }
        problems
    }

    /// One line.
    pub(super) fn title(&self) -> String {
        let lasts = self.lasts.as_ref().map_or_else(String::new, |lasts| format!(" for {}", short(lasts.0)));
        format!("fault on {}: {}{lasts}", self.target.0, self.fault())
    }
}

/// One line for `heal`.
pub(super) fn heal_title(healed: words::Healed) -> String {
    healed.0.map_or_else(|| "every fault is healed, and everything answers".to_owned(), |on| format!("{on} is healed"))
}
