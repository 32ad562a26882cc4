//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ackscope_harness::environment::containers::Progress;
use ackscope_harness::environment::{
    Addresses, BackendChoice, EnvironmentOptions, ImageNames, Namespace, Settings, parse_limit,
};
use ackscope_harness::scenario::period::Period;
use ackscope_protocol::UserId;
use ackscope_protocol::control::BackendKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Simulator and test harness for a chat backend, with the whole backend inside.
#[derive(Debug, Parser)]
#[command(
    name = "ackscope",
    version,
    max_term_width = 100,
    after_help = "\
Try it:
  ackscope run scenarios/tour.yaml      play the tour and see every acknowledgment
  ackscope serve                        a chat server for any client, and the interface in a browser
  ackscope bench                        what this machine can do

Exit codes: 0 pass, 1 fail (an expectation, a budget, the audit), 2 wrong usage or file,
3 inconclusive (the environment failed, not the system under test).

Settings come from flags, then `ackscope.toml` in the current folder, then the environment
(ACKSCOPE_BACKEND, ACKSCOPE_LIMITS). ACKSCOPE_LOG=debug shows what goes on inside; NO_COLOR=1 takes the colours out."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Play scenarios and check everything: expectations, budgets and the promises of every message.
    Run(RunArgs),
    /// Show a recording as if its run had just ended, or let it run again for the eye.
    Replay(ReplayArgs),
    /// Hold two recordings against each other: what is worse, above the noise.
    Compare(CompareArgs),
    /// Refuse or accept scenario files without running them.
    Check(CheckArgs),
    /// Run the chat server for any client, and the interface for a browser.
    Serve(ServeArgs),
    /// Print a token for a user, to connect to `ackscope serve` with.
    Token(TokenArgs),
    /// Say what each backend would need on this machine.
    Doctor(DoctorArgs),
    /// Ask who may do what, in every role and kind of conversation, and hold the answers against the rules.
    Matrix(MatrixArgs),
    /// Random traffic under random faults, and the audit after it, as often as one likes.
    Chaos(ChaosArgs),
    /// List the faults there are, and what can have them.
    Faults(FaultsArgs),
    /// Put load on the whole path and measure latencies, or search for the limit.
    Load(LoadArgs),
    /// Measure what this machine can do: latencies at a fixed rate, the limit, the first message.
    Bench(BenchArgs),
    /// Open the desktop app, or the interface in a browser where there is none.
    Desktop(DesktopArgs),
    /// A node and nothing else, for the load generator: takes its key on standard input and ends with it, and
    /// answers `figures` there.
    #[command(hide = true)]
    Node(NodeArgs),
}

/// Where the backend's parts come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct BackendArgs {
    /// Which backend to run on. `auto` takes what fits this machine, and says which and why.
    #[arg(long, value_enum, value_name = "BACKEND")]
    pub(crate) backend: Option<BackendChoice>,
    #[command(flatten)]
    pub(crate) servers: ServerArgs,
}

/// Where servers and containers come from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ServerArgs {
    /// MongoDB for `external`, such as mongodb://user:password@host:27017/?replicaSet=rs0. A password is safer in the
    /// environment (ACKSCOPE_MONGODB_URI), where other users of the machine do not see it.
    #[arg(long, value_name = "URI", hide_short_help = true)]
    pub(crate) mongodb_uri: Option<String>,
    /// Redis for `external`, such as redis://host:6379/0, with TLS rediss:// (ACKSCOPE_REDIS_URL).
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub(crate) redis_url: Option<String>,
    /// Kafka for `external`, such as host:9092,host2:9092 or sasl_plaintext://user:password@host:9092
    /// (ACKSCOPE_KAFKA_BROKERS).
    #[arg(long, value_name = "BROKERS", hide_short_help = true)]
    pub(crate) kafka_brokers: Option<String>,
    /// What database, cache keys and topics on `external` servers are called by. They stay after the run; without it
    /// each run has a name of its own and removes what it made (ACKSCOPE_NAMESPACE).
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub(crate) namespace: Option<Namespace>,
    /// MongoDB's image for `containers` [default: mongo:8] (ACKSCOPE_MONGODB_IMAGE).
    #[arg(long, value_name = "IMAGE", hide_short_help = true)]
    pub(crate) mongodb_image: Option<String>,
    /// Redis's image for `containers` [default: redis:8] (ACKSCOPE_REDIS_IMAGE).
    #[arg(long, value_name = "IMAGE", hide_short_help = true)]
    pub(crate) redis_image: Option<String>,
    /// Kafka's image for `containers` [default: apache/kafka:4.1] (ACKSCOPE_KAFKA_IMAGE).
    #[arg(long, value_name = "IMAGE", hide_short_help = true)]
    pub(crate) kafka_image: Option<String>,
    /// Let the containers run after the end, for a fast next start; `ackscope doctor --remove-kept` ends them.
    #[arg(long, hide_short_help = true)]
    pub(crate) keep: bool,
}

/// Limits of the socket service.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LimitArgs {
    /// Sets a limit of the socket service, such as events_per_sec=50; can be repeated. README.md lists them.
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub(crate) limits: Vec<(&'static str, u64)>,
}

impl BackendArgs {
    /// What the flags set.
    pub(crate) fn flags(&self) -> Settings {
        self.servers.flags(self.backend)
    }

    /// What the flags set, limits too.
    pub(crate) fn flags_with(&self, limits: &LimitArgs) -> Settings {
        Settings { limits: limits.limits.iter().copied().collect(), ..self.flags() }
    }
}

impl ServerArgs {
    /// What the flags set.
    pub(crate) fn flags(&self, backend: Option<BackendChoice>) -> Settings {
        Settings {
            backend,
            addresses: Addresses {
                mongodb_uri: self.mongodb_uri.clone(),
                redis_url: self.redis_url.clone(),
                kafka_brokers: self.kafka_brokers.clone(),
            },
            images: ImageNames {
                mongodb: self.mongodb_image.clone(),
                redis: self.redis_image.clone(),
                kafka: self.kafka_image.clone(),
            },
            keep: self.keep.then_some(true),
            namespace: self.namespace.clone(),
            ..Settings::default()
        }
    }
}

/// Flags first, then `ackscope.toml`, then the environment.
pub(crate) fn load_settings(flags: Settings) -> Result<Settings, super::Trouble> {
    let folder = std::env::current_dir()?;
    Settings::load(flags, &folder, |name| std::env::var_os(name)).map_err(super::Trouble::usage)
}

/// What an environment is made from; a slow start says how far it is, unless only machines listen.
pub(crate) fn environment(settings: &Settings, silent: bool) -> EnvironmentOptions {
    let progress = (!silent).then(|| Arc::new(super::out::note) as Progress);
    EnvironmentOptions { progress, ..settings.environment() }
}

/// What `auto` came to in one run holds for the next ones of the same command: containers that cannot be had are not
/// asked for again.
pub(crate) fn settle(settings: &mut Settings, backend: BackendKind) {
    if settings.backend.is_none_or(|choice| choice == BackendChoice::Auto) && backend == BackendKind::Embedded {
        settings.backend = Some(BackendChoice::Embedded);
    }
}

/// `ackscope run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope run scenarios/tour.yaml
  ackscope run scenarios/*.yaml --report target/report     report.html and files for machines
  ackscope run checkout.yaml --json | jq .verdict
  ackscope run scenarios/*.yaml --backend embedded,containers      one table: the same everywhere?

Every file is read and checked first: a wrong one is refused with line and column before anything starts.
Each scenario gets a backend of its own. After the last step everything is left to come to rest; then
every message is held against the promises (delivered means stored once, published once, and seen
exactly once by everybody who was there), and every fault against what is promised while it is there.

With several backends each scenario is played on each of them, one after the other, in containers that
are started once. The table says whether verdict and steps are the same; a backend that cannot be had
is inconclusive. The report has a folder for each backend then.")]
pub(crate) struct RunArgs {
    /// Scenario files.
    #[arg(required_unless_present = "schema", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Which backend to run on, or several with commas between them. `auto` takes what fits this machine, and says which
    /// and why.
    #[arg(long, value_enum, value_name = "BACKEND", value_delimiter = ',')]
    pub(crate) backend: Vec<BackendChoice>,
    #[command(flatten)]
    pub(crate) servers: ServerArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// What is left to chance follows from this number [default: a new one, which the report names].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write report.html, report.json, junit.xml and recordings (recording.ackrec, trace.jsonl) into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// Print one JSON object and nothing else; it is the one of report.json.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the JSON Schema of report.json instead.
    #[arg(long, exclusive = true)]
    pub(crate) schema: bool,
}

/// Where a run is recorded.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RecordArgs {
    /// Record the run to this file while it goes; of several scenarios, the second is `FILE-2` and so on. Without it
    /// (and without `--report`) the latest ten runs stay in the state folder for `ackscope replay --last`.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Record to no file.
    #[arg(long, conflicts_with = "record")]
    pub(crate) no_record: bool,
}

/// `ackscope replay`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[command(after_help = "\
Examples:
  ackscope replay --last                   the latest run that named no file
  ackscope replay out/recording.ackrec     steps, timeline, latencies, promises and verdict
  ackscope replay FILE --ui 127.0.0.1:0    the run in the interface, where it can be looked at
  ackscope replay FILE --speed 1           line by line at its own pace; with --ui in the interface
  ackscope replay FILE --follow            a run that still goes, until it ends
  ackscope replay FILE --events | jq 'select(.type == \"stage\")'

No backend is started. A recording that is damaged or was cut by a kill is shown as far as it goes,
and standard error says where it ends.

Ends with 0 when something could be shown, with 2 when the file is none that this build can read.
With --audit: 0 when every promise was kept, 1 when one was broken, 3 when the file does not say
what the store held.")]
pub(crate) struct ReplayArgs {
    /// The recording.
    #[arg(required_unless_present = "last", conflicts_with = "last", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The latest run that named no file.
    #[arg(long)]
    pub(crate) last: bool,
    /// So many times as fast as it was; without it everything is there at once.
    #[arg(long, value_name = "N", value_parser = parse_speed, conflicts_with = "events")]
    pub(crate) speed: Option<f64>,
    /// Serve the interface there until Ctrl-C; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["events", "audit", "report"])]
    pub(crate) ui: Option<SocketAddr>,
    /// Go on while the file is still written.
    #[arg(long, conflicts_with = "speed")]
    pub(crate) follow: bool,
    /// Check the promises once more, with what the store held at the end.
    #[arg(long, conflicts_with = "events")]
    pub(crate) audit: bool,
    /// Write report.html, report.json, junit.xml and trace.jsonl of it into this folder.
    #[arg(long, value_name = "DIR", conflicts_with = "events")]
    pub(crate) report: Option<PathBuf>,
    /// Print every event as one JSON object in a line, and nothing else.
    #[arg(long, conflicts_with = "json")]
    pub(crate) events: bool,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.strip_suffix('x').unwrap_or(text).parse().ok();
    speed.filter(|speed| (0.001..=1e6).contains(speed)).ok_or_else(|| "expected a number from 0.001 to 1000000".into())
}

/// `ackscope compare`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope compare before.ackrec after.ackrec
  ackscope compare main/recording.ackrec branch/recording.ackrec --json | jq .regressions

Outcomes, findings, rates, and the time from a message's send to each of its stages at p50, p90, p99
and p99.9; what happens inside the backend has a dot. A percentile counts as different when it moved
by more than --min-percent, by more than --min-ms, and by more than the noise: three and a half
standard errors of the difference. These come from drawing stretches of the run again (block
bootstrap), so a stall that hit many messages counts as one accident and not as many. A percentile
is compared only where both runs have ten values beyond it.

What differs from one run to the next on the same machine is not in two recordings: compare two runs
of the same build first to see it.

Ends with 0 when nothing became worse, 1 when something did, 2 for a wrong flag or file.")]
pub(crate) struct CompareArgs {
    /// The recording before.
    #[arg(value_name = "BEFORE")]
    pub(crate) before: PathBuf,
    /// The recording after.
    #[arg(value_name = "AFTER")]
    pub(crate) after: PathBuf,
    /// The least change of a latency or a rate that counts, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = parse_least)]
    pub(crate) min_percent: f64,
    /// The least change of a latency that counts, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1.0, value_parser = parse_least)]
    pub(crate) min_ms: f64,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

fn parse_least(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|least| (0.0..=1e6).contains(least)).ok_or_else(|| "expected a number from 0 on".into())
}

/// `ackscope check`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope check scenarios/*.yaml
  ackscope check --schema > scenario.schema.json

With the schema an editor completes and checks scenarios while they are written. For the YAML extension
of VS Code and others, put this into the first line of a scenario:
  # yaml-language-server: $schema=scenario.schema.json")]
pub(crate) struct CheckArgs {
    /// Scenario files.
    #[arg(required_unless_present = "schema", conflicts_with = "schema", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Print the JSON Schema of scenario files instead.
    #[arg(long)]
    pub(crate) schema: bool,
    /// Print one JSON object and nothing else.
    #[arg(long, conflicts_with = "schema")]
    pub(crate) json: bool,
}

/// `ackscope serve`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope serve                              free ports on loopback; the files go with the run
  ackscope serve --chat 127.0.0.1:4000 --data ./chat-data
  TOKEN=$(ackscope token ana)                 and connect a Socket.IO client to /chat with auth.token

Prints one line when it takes connections and ends cleanly on Ctrl-C or SIGTERM. Nobody gets in without
a token, neither to the chat nor to the interface.")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Where the chat service listens; port 0 takes a free one [default: loopback, a free port].
    #[arg(long, value_name = "ADDR")]
    pub(crate) chat: Option<SocketAddr>,
    /// Where the interface is served; port 0 takes a free one [default: loopback, a free port].
    #[arg(long, value_name = "ADDR")]
    pub(crate) ui: Option<SocketAddr>,
    /// Keep the embedded backend's files in this folder from run to run.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    /// Print one JSON object with `chat`, `ui` and `backend` when ready, and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ackscope token`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope token ana
  ackscope token ben --ttl 10min

The signing key is made once for each user of this machine and readable by nobody else.")]
pub(crate) struct TokenArgs {
    /// The user it speaks for: 1 to 64 of the characters A-Z a-z 0-9 _ . -
    #[arg(value_name = "USER")]
    pub(crate) user: UserId,
    /// How long it holds, such as 30s, 10min, 1h, 7d.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) ttl: Period,
}

/// `ackscope doctor`
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with 0 when at least one backend can be used here, else with 3.")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// Remove the containers that `--keep` left running, and nothing else.
    #[arg(long)]
    pub(crate) remove_kept: bool,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ackscope matrix`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope matrix                          every cell, in well under a minute
  ackscope matrix --only message:edit      the cells of one event
  ackscope matrix --json | jq '.matrix[] | select(.as_expected | not)'

A cell is one request: an event, by a role, in a kind of conversation, about an own or another's
message; or one side of a boundary. What must come of it stands in a table; real connections ask. A
cell that must be refused has to leave store, log, cache and search as they were, and nobody else
may hear of it. The grid has a block for each kind, a row for each event and a column for each role;
then come the boundaries, what is not as expected, and the totals.

The worlds it is played in have limits of their own; those of the settings do not count here.
Ends with 0 when everything is as expected, else with 1.")]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// Only the cells of this client event, such as message:edit.
    #[arg(long, value_name = "EVENT")]
    pub(crate) only: Option<String>,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How sends are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// As independent users send: exponentially distributed pauses.
    Poisson,
    /// One after the other at the same distance.
    Even,
}

/// `ackscope load`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope load                                  1,000 messages a second for 30 s
  ackscope load --users 500 --group-size 50 --rate 200 --duration 1min
  ackscope load --find-limit                     the highest rate that keeps both budgets
  ackscope load --first-message 20               from starting the program to the first delivered message

Sends follow a schedule that does not wait for answers (open model), and every latency is measured from the
scheduled time: a system that stalls is charged for the sends it held up. The generator's own lag
(scheduled to written) is printed beside every figure. The server runs as a process of its own.

Ends with 1 when a message was lost, doubled or rejected, or a budget (pending 10 ms, delivered 100 ms,
each at p99) was broken.")]
pub(crate) struct LoadArgs {
    /// Simulated users, each with one connection.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) users: u32,
    /// Users of a conversation; each message goes to all the others in it.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1_000))]
    pub(crate) group_size: u32,
    /// Messages a second, all users together.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) rate: u32,
    /// How long to measure.
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) duration: Period,
    /// How long to send before measuring; these messages are checked and not measured.
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(crate) warmup: Period,
    /// How sends are spread over time.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,
    /// What is left to chance follows from this number.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// Load a server that runs already, such as http://127.0.0.1:4000; it must take this machine's tokens.
    #[arg(long, value_name = "URL", conflicts_with = "first_message")]
    pub(crate) target: Option<String>,
    /// Search for the highest rate that keeps both budgets at p99 (pending 10 ms, delivered 100 ms).
    #[arg(long, conflicts_with_all = ["first_message", "rate", "duration", "warmup"])]
    pub(crate) find_limit: bool,
    /// Start the program N times and measure from its start to the first delivered message.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) first_message: Option<u32>,
    /// Run the server in this process, on threads of its own, instead of in a process of its own.
    #[arg(long, hide = true, conflicts_with_all = ["target", "first_message"])]
    pub(crate) same_process: bool,
    /// Print one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ackscope bench`
#[derive(Debug, Args)]
#[command(after_help = "\
Alone it takes about three minutes. Close what else needs the processor: the figures are of this
machine as it is.

Aims: pending p99 below 2 ms and delivered p99 below 20 ms at 1,000 messages a second in groups of
10; first message within 500 ms. Ends with 1 when a budget (10 ms, 100 ms) or a message is broken.")]
pub(crate) struct BenchArgs {
    /// What to measure instead.
    #[command(subcommand)]
    pub(crate) command: Option<BenchCommand>,
    /// Print one JSON object and nothing else.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What `ackscope bench` measures on request.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Whether messages notice faults of the media and search services, and whether everything is caught up.
    Degradation(DegradationArgs),
    /// Whether the promises hold while MongoDB, Redis and Kafka are killed, paused and stopped in containers.
    Recovery(RecoveryArgs),
    /// What the whole path does on real servers beside what the servers alone can do.
    Servers(ServersArgs),
    /// What the embedded backend's log, store and cache and the search service can do, each by itself.
    #[command(after_help = "\
Takes about three minutes and up to 2 GB of the temporary folder. The history is asked for over a
socket, through the whole service; the log, the store, the search client with its service and the
permission check are called directly.

Aims: bulks of 500 persisted at 10 times the rate of single inserts; a page of the history of a
conversation with a million messages within 5 ms (p99), wherever it is and whatever its reader has
hidden. A missed aim is shown and is no failure.")]
    Storage,
}

/// `ackscope bench degradation`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope bench degradation                     13 phases of a minute: about a quarter of an hour
  ackscope bench degradation --seconds 10 --rate 100 --media-share 0.5
  ackscope bench degradation --only slow         two faults between two phases without one

The same traffic thirteen times: without a fault, with the search service and then the media service
out, hanging, answering 500, answering garbage and answering 500 to 750 ms late, with both out, and
without a fault again. After each phase the fault is healed and everything is waited for: every
message in the history and in the search index, every media item verified, no consumer behind, every
circuit closed.

A percentile counts as different when its interval (three standard errors) lies outside of those of
the two phases without a fault, widened by what these two differ from each other. Whatever else runs
on the machine is in the figures; the load average stands beside them.

Ends with 1 when something was lost, is not indexed or not verified.")]
pub(crate) struct DegradationArgs {
    /// How long each phase is measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    pub(crate) seconds: u32,
    /// Messages a second, all users together.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) rate: u32,
    /// Share of the messages that carry a picture, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = parse_share)]
    pub(crate) media_share: f64,
    /// Only the faults with this in their names, such as `search` or `slow`, between the phases without one.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

/// `ackscope bench recovery`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ackscope bench recovery                        twelve outages, about ten minutes
  ackscope bench recovery --only kafka --rate 100
  ackscope bench recovery --only consumers

For each server, and for the consumers, which run in a process of their own: killed (SIGKILL) and
started again, paused for 20 s, stopped and started again after 5 s, all of it under load. A message
that is refused meanwhile is no failure, one that is lost or told twice is. `delivers` is the time
from the moment it was told to be back until as many messages a second are delivered as are sent,
`caught up` the time until what was delivered is persisted as well.

Ends with 1 when something was lost, told twice or told to somebody else.")]
pub(crate) struct RecoveryArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// Messages a second, all users together.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=20_000))]
    pub(crate) rate: u32,
    /// Only the outages with this in their names, such as `kafka` or `paused`.
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

/// `ackscope bench servers`
#[derive(Debug, Args)]
#[command(after_help = "\
First the whole path: a fixed rate, then the highest rate that keeps both budgets. Then what the
servers can do alone, with records of the same size on the same servers: produced with acks=all,
consumed by a group, and inserted in bulks of 500. The ratio of the two rates is what the rest of the
path leaves of it (aim: 0.5).")]
pub(crate) struct ServersArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// Messages a second of the first part.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=200_000))]
    pub(crate) rate: u32,
    /// Records of the last part.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    pub(crate) records: u32,
}

fn parse_share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected a number from 0 to 1".into())
}

/// `ackscope chaos`
#[derive(Debug, Args)]
#[command(after_help = "\
Try it:
  ackscope chaos                        ten runs with seeds of their own
  ackscope chaos --seed 7 --runs 1      one run once more
  ackscope chaos --backend containers --runs 20

In each run users in groups send, send again, edit, delete, react, lose the connection and come back,
while faults of `ackscope faults` come and go, several at a time. Then everything is healed and left to
come to rest, and every promise is checked.

Ends with 1 when a promise was broken; the line names the seed.")]
pub(crate) struct ChaosArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    /// The first run's seed, the next one's is one more [default: drawn].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// How many runs.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) runs: u32,
    /// Users of a run.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(3..=500))]
    pub(crate) users: u32,
    /// How long users are busy in a run.
    #[arg(long, default_value = "3s")]
    pub(crate) duration: Period,
    /// Write report.html, report.json, junit.xml and recordings of runs with findings into this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// Record every run, also those without findings, to this file; of several, the second is `FILE-2` and so on.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Print one JSON object for machines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ackscope faults`
#[derive(Debug, Args)]
pub(crate) struct FaultsArgs {
    /// Print JSON for machines.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `ackscope desktop`
#[derive(Debug, Args)]
pub(crate) struct DesktopArgs {
    #[command(flatten)]
    pub(crate) backend: BackendArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// `ackscope node`
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Without the socket service and its fan-out.
    #[arg(long, conflicts_with = "no_consumer")]
    pub(crate) no_socket: bool,
    /// Without the consumers.
    #[arg(long)]
    pub(crate) no_consumer: bool,
    /// Address of the media service.
    #[arg(long, value_name = "URL")]
    pub(crate) media: Option<String>,
    /// Address of the search service.
    #[arg(long, value_name = "URL")]
    pub(crate) search: Option<String>,
    /// A limit of the socket service.
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = parse_limit)]
    pub(crate) limits: Vec<(&'static str, u64)>,
}
