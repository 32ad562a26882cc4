//! Faults (S3.3): what can be broken, and how. One table, [`TABLE`], says it for scenarios, the command line, the
//! control protocol and the interface.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Share, delay and count a fault has when nothing is said.
pub mod defaults {
    /// Half of the requests fail.
    pub const SHARE: f64 = 0.5;
    /// Milliseconds.
    pub const DELAY_MS: u64 = 200;
    /// Requests that fail, records that come again, poison records.
    pub const COUNT: u64 = 3;
    /// Bytes a second.
    pub const BYTES_PER_SECOND: u64 = 64 * 1_024;
}

/// Longest delay of a fault in milliseconds: a minute is longer than every limit of the product.
pub const DELAY_MAX_MS: u64 = 60_000;
/// Largest count of a fault.
pub const COUNT_MAX: u64 = 10_000;
/// The narrowest way, in bytes a second: with less not even a heartbeat gets through in time.
pub const BYTES_PER_SECOND_MIN: u64 = 1_024;
/// The widest way, in bytes a second.
pub const BYTES_PER_SECOND_MAX: u64 = 1_024 * 1_024 * 1_024;
/// What a request and its answer are taken to have where bytes cannot be counted.
const REQUEST_BYTES: u64 = 2 * 1_024;

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependency {
    /// The simulated media service.
    Media,
    /// The simulated search service.
    Search,
    /// The store of conversations and messages.
    Mongodb,
    /// The cache of conversations.
    Redis,
    /// The event log.
    Kafka,
    /// The consumer groups of the pipeline.
    Consumers,
}

impl Dependency {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 6] = [Self::Media, Self::Search, Self::Mongodb, Self::Redis, Self::Kafka, Self::Consumers];

    /// The name as scenarios and flags spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Search => "search",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Consumers => "consumers",
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// Every request fails at once.
    Outage,
    /// Every answer comes later.
    Latency {
        /// By this much.
        delay_ms: u64,
        /// And by up to this much more, drawn for each request.
        jitter_ms: u64,
    },
    /// A share of the requests fails and is not done.
    Errors {
        /// From 0 to 1.
        share: f64,
    },
    /// The next requests fail and are not done; after them it works.
    FailThenWork {
        /// How many.
        count: u64,
    },
    /// Requests get no answer.
    Hang,
    /// Answers cannot be read. Whether a change was done is not known.
    Malformed,
    /// Requests are done, but the connection breaks in the middle of the answer.
    Cut,
    /// A server's processes are frozen; consumers poll nothing.
    Pause,
    /// A server is stopped in good order, until it is healed.
    Stop,
    /// A server is killed (SIGKILL), until it is healed.
    Kill,
    /// What goes to a server and comes from it takes longer on its way.
    NetworkLatency {
        /// By this much, each way.
        delay_ms: u64,
        /// And by up to this much more, drawn for each piece.
        jitter_ms: u64,
    },
    /// Only so much gets through, each way and for each connection.
    Bandwidth {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// Connections to a server are reset, and new ones too, until it is healed.
    Reset,
    /// Nothing gets through to a server or back, and nobody says so. What was sent goes on when it is healed.
    BlackHole,
    /// A consumer dies with records it has polled and not worked on; they come again. Once.
    CrashBeforeWrite,
    /// A consumer dies when its records are written and not committed; they come again. Once.
    CrashAfterWrite,
    /// A member joins every group, takes its share and leaves again. Once.
    Rebalance,
    /// The last records of every partition come again. Once.
    Redeliver {
        /// How many of each partition.
        count: u64,
    },
    /// Records that nobody can read are published on `message.sent`. Once.
    Poison {
        /// How many.
        count: u64,
    },
}

/// A fault without its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// [`Fault::Outage`]
    Outage,
    /// [`Fault::Latency`]
    Latency,
    /// [`Fault::Errors`]
    Errors,
    /// [`Fault::FailThenWork`]
    FailThenWork,
    /// [`Fault::Hang`]
    Hang,
    /// [`Fault::Malformed`]
    Malformed,
    /// [`Fault::Cut`]
    Cut,
    /// [`Fault::Pause`]
    Pause,
    /// [`Fault::Stop`]
    Stop,
    /// [`Fault::Kill`]
    Kill,
    /// [`Fault::NetworkLatency`]
    NetworkLatency,
    /// [`Fault::Bandwidth`]
    Bandwidth,
    /// [`Fault::Reset`]
    Reset,
    /// [`Fault::BlackHole`]
    BlackHole,
    /// [`Fault::CrashBeforeWrite`]
    CrashBeforeWrite,
    /// [`Fault::CrashAfterWrite`]
    CrashAfterWrite,
    /// [`Fault::Rebalance`]
    Rebalance,
    /// [`Fault::Redeliver`]
    Redeliver,
    /// [`Fault::Poison`]
    Poison,
}

impl FaultKind {
    /// All of them, in the order they are listed.
    pub const ALL: [Self; 19] = [
        Self::Outage,
        Self::Latency,
        Self::Errors,
        Self::FailThenWork,
        Self::Hang,
        Self::Malformed,
        Self::Cut,
        Self::Pause,
        Self::Stop,
        Self::Kill,
        Self::NetworkLatency,
        Self::Bandwidth,
        Self::Reset,
        Self::BlackHole,
        Self::CrashBeforeWrite,
        Self::CrashAfterWrite,
        Self::Rebalance,
        Self::Redeliver,
        Self::Poison,
    ];

    /// The name as scenarios and flags spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::FailThenWork => "fail_then_work",
            Self::Hang => "hang",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::NetworkLatency => "network_latency",
            Self::Bandwidth => "bandwidth",
            Self::Reset => "reset",
            Self::BlackHole => "black_hole",
            Self::CrashBeforeWrite => "crash_before_write",
            Self::CrashAfterWrite => "crash_after_write",
            Self::Rebalance => "rebalance",
            Self::Redeliver => "redeliver",
            Self::Poison => "poison",
        }
    }

    /// Whether it happens once and is over by itself.
    pub fn is_once(self) -> bool {
        matches!(
            self,
            Self::CrashBeforeWrite | Self::CrashAfterWrite | Self::Rebalance | Self::Redeliver | Self::Poison
        )
    }

    /// The fault with its usual figures.
    pub fn usual(self) -> Fault {
        match self {
            Self::Outage => Fault::Outage,
            Self::Latency => Fault::Latency { delay_ms: defaults::DELAY_MS, jitter_ms: defaults::DELAY_MS / 2 },
            Self::Errors => Fault::Errors { share: defaults::SHARE },
            Self::FailThenWork => Fault::FailThenWork { count: defaults::COUNT },
            Self::Hang => Fault::Hang,
            Self::Malformed => Fault::Malformed,
            Self::Cut => Fault::Cut,
            Self::Pause => Fault::Pause,
            Self::Stop => Fault::Stop,
            Self::Kill => Fault::Kill,
            Self::NetworkLatency => {
                Fault::NetworkLatency { delay_ms: defaults::DELAY_MS, jitter_ms: defaults::DELAY_MS / 2 }
            }
            Self::Bandwidth => Fault::Bandwidth { bytes_per_second: defaults::BYTES_PER_SECOND },
            Self::Reset => Fault::Reset,
            Self::BlackHole => Fault::BlackHole,
            Self::CrashBeforeWrite => Fault::CrashBeforeWrite,
            Self::CrashAfterWrite => Fault::CrashAfterWrite,
            Self::Rebalance => Fault::Rebalance,
            Self::Redeliver => Fault::Redeliver { count: defaults::COUNT },
            Self::Poison => Fault::Poison { count: defaults::COUNT },
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is nothing of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// What was looked for: `dependency` or `fault`.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no {} `{}`", self.what, self.name)
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Dependency {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|dependency| dependency.as_str() == name);
        found.ok_or_else(|| UnknownName { what: "dependency", name: name.to_owned() })
    }
}

impl FromStr for FaultKind {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        found.ok_or_else(|| UnknownName { what: "fault", name: name.to_owned() })
    }
}

impl Fault {
    /// Which one it is.
    pub fn kind(self) -> FaultKind {
        match self {
            Self::Outage => FaultKind::Outage,
            Self::Latency { .. } => FaultKind::Latency,
            Self::Errors { .. } => FaultKind::Errors,
            Self::FailThenWork { .. } => FaultKind::FailThenWork,
            Self::Hang => FaultKind::Hang,
            Self::Malformed => FaultKind::Malformed,
            Self::Cut => FaultKind::Cut,
            Self::Pause => FaultKind::Pause,
            Self::Stop => FaultKind::Stop,
            Self::Kill => FaultKind::Kill,
            Self::NetworkLatency { .. } => FaultKind::NetworkLatency,
            Self::Bandwidth { .. } => FaultKind::Bandwidth,
            Self::Reset => FaultKind::Reset,
            Self::BlackHole => FaultKind::BlackHole,
            Self::CrashBeforeWrite => FaultKind::CrashBeforeWrite,
            Self::CrashAfterWrite => FaultKind::CrashAfterWrite,
            Self::Rebalance => FaultKind::Rebalance,
            Self::Redeliver { .. } => FaultKind::Redeliver,
            Self::Poison { .. } => FaultKind::Poison,
        }
    }

    /// What is wrong with its figures, one sentence.
    pub fn check(self) -> Result<(), String> {
        match self {
            Self::Latency { delay_ms, jitter_ms } | Self::NetworkLatency { delay_ms, jitter_ms }
                if delay_ms.max(jitter_ms) > DELAY_MAX_MS =>
            {
                Err(format!("a fault delays by at most {DELAY_MAX_MS} ms"))
            }
            Self::Bandwidth { bytes_per_second }
                if !(BYTES_PER_SECOND_MIN..=BYTES_PER_SECOND_MAX).contains(&bytes_per_second) =>
            {
                Err(format!("a way has {BYTES_PER_SECOND_MIN} to {BYTES_PER_SECOND_MAX} bytes a second"))
            }
            // Also what is no number at all.
            Self::Errors { share } if !(0.0..=1.0).contains(&share) => {
                Err("a share is a number from 0 to 1".to_owned())
            }
            Self::FailThenWork { count } | Self::Redeliver { count } | Self::Poison { count }
                if !(1..=COUNT_MAX).contains(&count) =>
            {
                Err(format!("a count is a number from 1 to {COUNT_MAX}"))
            }
            _ => Ok(()),
        }
    }

    /// The fault that is played before a server where it cannot be played on the way to it or in its container: what
    /// [`Row::elsewhere`] names, with figures.
    #[must_use]
    pub fn before_the_server(self) -> Self {
        match self {
            Self::Pause | Self::BlackHole => Self::Hang,
            Self::Stop | Self::Kill | Self::Reset => Self::Outage,
            // There and back.
            Self::NetworkLatency { delay_ms, jitter_ms } => Self::Latency {
                delay_ms: delay_ms.saturating_mul(2).min(DELAY_MAX_MS),
                jitter_ms: jitter_ms.saturating_mul(2).min(DELAY_MAX_MS),
            },
            Self::Bandwidth { bytes_per_second } => {
                Self::Latency { delay_ms: (REQUEST_BYTES * 1_000).div_ceil(bytes_per_second.max(1)), jitter_ms: 0 }
            }
            other => other,
        }
    }
}

/// The kind and its figures, such as `latency 200 ms + up to 100 ms`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Latency { delay_ms, jitter_ms: 0 } | Self::NetworkLatency { delay_ms, jitter_ms: 0 } => {
                write!(f, "{kind} {delay_ms} ms")
            }
            Self::Latency { delay_ms, jitter_ms } | Self::NetworkLatency { delay_ms, jitter_ms } => {
                write!(f, "{kind} {delay_ms} ms + up to {jitter_ms} ms")
            }
            Self::Bandwidth { bytes_per_second } => write!(f, "{kind} {bytes_per_second} bytes/s"),
            Self::Errors { share } => write!(f, "{kind} {} %", share * 100.0),
            Self::FailThenWork { count } | Self::Redeliver { count } | Self::Poison { count } => {
                write!(f, "{kind} {count}")
            }
            _ => write!(f, "{kind}"),
        }
    }
}

/// One row of [`TABLE`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The fault.
    pub kind: FaultKind,
    /// What can have it.
    pub on: &'static [Dependency],
    /// What it is where Ackscope does not run the server in a container of its own: played before the server, so that a
    /// scenario means the same everywhere.
    pub elsewhere: Option<FaultKind>,
    /// What it does, one sentence for people.
    pub does: &'static str,
}

const ANSWERING: &[Dependency] =
    &[Dependency::Media, Dependency::Search, Dependency::Mongodb, Dependency::Redis, Dependency::Kafka];
const SERVERS: &[Dependency] = &[Dependency::Mongodb, Dependency::Redis, Dependency::Kafka];
const CONSUMERS: &[Dependency] = &[Dependency::Consumers];
const KAFKA: &[Dependency] = &[Dependency::Kafka];

/// Every fault, and what can have it. `pause` stands there twice: a server freezes, consumers poll nothing.
pub const TABLE: &[Row] = &[
    row(FaultKind::Outage, ANSWERING, "every request fails at once"),
    row(FaultKind::Latency, ANSWERING, "every answer comes later, by `delay` and up to `jitter` more"),
    row(FaultKind::Errors, ANSWERING, "a `share` of the requests fails and is not done"),
    row(FaultKind::FailThenWork, ANSWERING, "the next `count` requests fail, after them it works"),
    row(FaultKind::Hang, ANSWERING, "requests get no answer"),
    row(FaultKind::Malformed, ANSWERING, "answers cannot be read"),
    row(FaultKind::Cut, ANSWERING, "requests are done, and the answer breaks off"),
    Row {
        kind: FaultKind::Pause,
        on: SERVERS,
        elsewhere: Some(FaultKind::Hang),
        does: "the server's processes are frozen",
    },
    Row {
        kind: FaultKind::Stop,
        on: SERVERS,
        elsewhere: Some(FaultKind::Outage),
        does: "the server is stopped until it is healed",
    },
    Row {
        kind: FaultKind::Kill,
        on: SERVERS,
        elsewhere: Some(FaultKind::Outage),
        does: "the server is killed until it is healed",
    },
    Row {
        kind: FaultKind::NetworkLatency,
        on: SERVERS,
        elsewhere: Some(FaultKind::Latency),
        does: "everything on its way takes longer, by `delay` and up to `jitter` more",
    },
    Row {
        kind: FaultKind::Bandwidth,
        on: SERVERS,
        elsewhere: Some(FaultKind::Latency),
        does: "each connection carries only `rate` bytes a second",
    },
    Row {
        kind: FaultKind::Reset,
        on: SERVERS,
        elsewhere: Some(FaultKind::Outage),
        does: "connections are reset, and new ones too",
    },
    Row {
        kind: FaultKind::BlackHole,
        on: SERVERS,
        elsewhere: Some(FaultKind::Hang),
        does: "nothing gets through, and nobody says so",
    },
    row(FaultKind::Pause, CONSUMERS, "no consumer group polls anything"),
    row(FaultKind::CrashBeforeWrite, CONSUMERS, "a consumer dies before it has written what it polled"),
    row(FaultKind::CrashAfterWrite, CONSUMERS, "a consumer dies between its write and its commit"),
    row(FaultKind::Rebalance, CONSUMERS, "a member joins every group and leaves it again"),
    row(FaultKind::Redeliver, KAFKA, "the last `count` records of every partition come again"),
    row(FaultKind::Poison, KAFKA, "`count` records that nobody can read are published"),
];

const fn row(kind: FaultKind, on: &'static [Dependency], does: &'static str) -> Row {
    Row { kind, on, elsewhere: None, does }
}

/// Whether a dependency can have a fault.
pub fn is_possible(on: Dependency, kind: FaultKind) -> bool {
    kinds_on(on).any(|possible| possible == kind)
}

/// The faults a dependency can have.
pub fn kinds_on(on: Dependency) -> impl Iterator<Item = FaultKind> {
    TABLE.iter().filter(move |row| row.on.contains(&on)).map(|row| row.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_in_the_table_and_keeps_its_name() {
        for kind in FaultKind::ALL {
            assert!(TABLE.iter().any(|row| row.kind == kind), "{kind} is on nothing");
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(kind.usual().kind(), kind);
            assert_eq!(kind.usual().check(), Ok(()));
            let json = serde_json::to_value(kind.usual()).unwrap();
            assert_eq!(json["kind"], kind.as_str());
            assert_eq!(serde_json::from_value::<Fault>(json).unwrap(), kind.usual());
        }
        for on in Dependency::ALL {
            assert_eq!(on.as_str().parse(), Ok(on));
            assert!(kinds_on(on).next().is_some());
            let mut kinds: Vec<_> = kinds_on(on).collect();
            kinds.dedup();
            assert_eq!(kinds.len(), kinds_on(on).count(), "{on} has a fault twice");
        }
        assert!("Kafka".parse::<Dependency>().is_err());
        assert!("".parse::<FaultKind>().is_err());
    }

    #[test]
    fn what_is_possible() {
        assert!(is_possible(Dependency::Kafka, FaultKind::Outage));
        assert!(is_possible(Dependency::Kafka, FaultKind::Kill));
        assert!(is_possible(Dependency::Consumers, FaultKind::Pause));
        assert!(!is_possible(Dependency::Consumers, FaultKind::Outage));
        assert!(!is_possible(Dependency::Media, FaultKind::Kill));
        assert!(!is_possible(Dependency::Redis, FaultKind::Redeliver));
        // What is only possible in a container is something else elsewhere that is possible there.
        for row in TABLE {
            for (on, elsewhere) in row.on.iter().filter_map(|on| Some((*on, row.elsewhere?))) {
                assert!(TABLE.iter().any(|r| r.kind == elsewhere && r.on.contains(&on) && r.elsewhere.is_none()));
                assert_eq!(row.kind.usual().before_the_server().kind(), elsewhere);
                assert_eq!(row.kind.usual().before_the_server().check(), Ok(()));
            }
        }
    }

    #[test]
    fn figures_have_limits() {
        for share in [0.0, 1.0] {
            assert!(Fault::Errors { share }.check().is_ok());
        }
        for share in [-0.01, 1.01, f64::NAN, f64::INFINITY] {
            assert!(Fault::Errors { share }.check().is_err());
        }
        assert!(Fault::Latency { delay_ms: DELAY_MAX_MS, jitter_ms: DELAY_MAX_MS }.check().is_ok());
        assert!(Fault::Latency { delay_ms: DELAY_MAX_MS + 1, jitter_ms: 0 }.check().is_err());
        assert!(Fault::Latency { delay_ms: 0, jitter_ms: DELAY_MAX_MS + 1 }.check().is_err());
        for (bytes_per_second, is_right) in [
            (BYTES_PER_SECOND_MIN - 1, false),
            (BYTES_PER_SECOND_MIN, true),
            (BYTES_PER_SECOND_MAX, true),
            (BYTES_PER_SECOND_MAX + 1, false),
        ] {
            assert_eq!(Fault::Bandwidth { bytes_per_second }.check().is_ok(), is_right);
        }
        for (count, is_right) in [(0, false), (1, true), (COUNT_MAX, true), (COUNT_MAX + 1, false)] {
            assert_eq!(Fault::Poison { count }.check().is_ok(), is_right);
        }
    }

    #[test]
    fn before_a_server_a_narrow_way_is_a_slow_one() {
        let slow = |bytes_per_second| Fault::Bandwidth { bytes_per_second }.before_the_server();
        assert_eq!(slow(BYTES_PER_SECOND_MIN), Fault::Latency { delay_ms: 2_000, jitter_ms: 0 });
        assert_eq!(slow(BYTES_PER_SECOND_MAX), Fault::Latency { delay_ms: 1, jitter_ms: 0 });
        let far = Fault::NetworkLatency { delay_ms: DELAY_MAX_MS, jitter_ms: 5 };
        assert_eq!(far.before_the_server(), Fault::Latency { delay_ms: DELAY_MAX_MS, jitter_ms: 10 });
    }

    #[test]
    fn a_fault_is_said_with_its_figures() {
        assert_eq!(Fault::Bandwidth { bytes_per_second: 65_536 }.to_string(), "bandwidth 65536 bytes/s");
        assert_eq!(Fault::NetworkLatency { delay_ms: 9, jitter_ms: 0 }.to_string(), "network_latency 9 ms");
        assert_eq!(Fault::Latency { delay_ms: 200, jitter_ms: 50 }.to_string(), "latency 200 ms + up to 50 ms");
        assert_eq!(Fault::Latency { delay_ms: 200, jitter_ms: 0 }.to_string(), "latency 200 ms");
        assert_eq!(Fault::Errors { share: 0.25 }.to_string(), "errors 25 %");
        assert_eq!(Fault::FailThenWork { count: 3 }.to_string(), "fail_then_work 3");
        assert_eq!(Fault::Outage.to_string(), "outage");
    }
}
