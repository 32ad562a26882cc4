//! One node of the backend: the parts put together and running (S1, S5).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ackscope_protocol::wire::NAMESPACE;
use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use futures_util::future::BoxFuture;
use socketioxide::SocketIo;
use socketioxide::operators::BroadcastOperators;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

use crate::cache::ConversationCache;
use crate::cache::embedded::EmbeddedCache;
use crate::changes::MessageChanges;
use crate::clients::{ClientError, ClientOptions, MediaClient, SearchClient};
use crate::clock::Clock;
use crate::consumers::conversation_persistence::{self, ConversationPersistence};
use crate::consumers::fan_out::{self, FanOut};
use crate::consumers::group::{self, Work};
use crate::consumers::media_verification::{self, MediaVerification};
use crate::consumers::message_persistence::{self, MessagePersistence};
use crate::consumers::search_indexing::{self, SearchIndexing};
use crate::conversations::Conversations;
use crate::limits::Limits;
use crate::log::embedded::{EmbeddedLog, LogOptions};
use crate::log::{EventLog, LogError, Position, Topic, TopicPartition, behind};
use crate::media::{Media, MediaOptions};
use crate::messages::Messages;
use crate::messaging::Acknowledgments;
use crate::probe::Probe;
use crate::producers::{AcknowledgmentProducer, Outbox, OutboxRelay};
use crate::repositories::embedded::{EmbeddedConversations, EmbeddedMessages, EmbeddedParticipants};
use crate::repositories::{ConversationRepository, MessageRepository, ParticipantRepository};
use crate::search::Search;
use crate::socket::connect::Admission;
use crate::socket::sessions::Sessions;
use crate::sqlite::{EmbeddedError, EmbeddedFile, EmbeddedOptions};
use crate::sync::SyncService;
use crate::tail::Tail;
use crate::token::TokenKey;

/// What a node runs on: one implementation of every trait.
#[derive(Clone)]
pub struct Backend {
    /// The event log.
    pub log: Arc<dyn EventLog>,
    /// Conversations.
    pub conversations: Arc<dyn ConversationRepository>,
    /// Participants.
    pub participants: Arc<dyn ParticipantRepository>,
    /// Messages.
    pub messages: Arc<dyn MessageRepository>,
    /// Conversation metadata.
    pub cache: Arc<dyn ConversationCache>,
}

/// Settings of [`Backend::embedded`].
#[derive(Clone, Debug)]
pub struct EmbeddedBackendOptions {
    /// The file.
    pub file: EmbeddedOptions,
    /// The event log in it.
    pub log: LogOptions,
    /// Conversations the cache holds at most; the least used ones give way.
    pub cache_capacity: u64,
}

impl Default for EmbeddedBackendOptions {
    fn default() -> Self {
        Self {
            file: EmbeddedOptions::default(),
            // A service beside the way of a message may be down for long, and no message waits for it (S1.7).
            log: LogOptions {
                patient_groups: &[search_indexing::GROUP, media_verification::GROUP],
                ..LogOptions::default()
            },
            cache_capacity: 100_000,
        }
    }
}

/// Name of the embedded backend's file in its folder.
pub const EMBEDDED_FILE: &str = "ackscope.sqlite";

impl Backend {
    /// The embedded backend in a folder, which must be there. Blocks for a few milliseconds.
    pub fn embedded(dir: &Path, clock: &Clock, options: EmbeddedBackendOptions) -> Result<Self, EmbeddedError> {
        let file = EmbeddedFile::open(dir.join(EMBEDDED_FILE), options.file)?;
        Ok(Self {
            log: Arc::new(EmbeddedLog::new(Arc::clone(&file), options.log)?),
            conversations: Arc::new(EmbeddedConversations::new(Arc::clone(&file))),
            participants: Arc::new(EmbeddedParticipants::new(Arc::clone(&file))),
            messages: Arc::new(EmbeddedMessages::new(file)),
            cache: Arc::new(EmbeddedCache::new(clock.clone(), options.cache_capacity)),
        })
    }
}

/// The services beside the backend that a node asks (S1.7).
#[derive(Clone)]
pub struct Clients {
    /// The media service.
    pub media: Arc<MediaClient>,
    /// The search service.
    pub search: Arc<SearchClient>,
    /// Settings of media in messages.
    pub media_options: MediaOptions,
}

impl Clients {
    /// Clients of the services at these addresses; without an address a service is unavailable for good.
    pub fn at(media: Option<String>, search: Option<String>) -> Result<Self, ClientError> {
        Ok(Self {
            media: Arc::new(MediaClient::new(ClientOptions::media(media))?),
            search: Arc::new(SearchClient::new(ClientOptions::search(search))?),
            media_options: MediaOptions::default(),
        })
    }
}

/// How many records each consumer group has before it, by topic.
pub type Lags = Vec<(String, Topic, u64)>;

/// What a consumer group has before it in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The group.
    pub group: &'static str,
    /// Where.
    pub at: TopicPartition,
    /// How many records.
    pub records: u64,
}

/// What is told of a node's health, for as long as somebody looks: it keeps no part of the node running.
#[derive(Clone)]
pub struct Figures {
    sessions: Arc<Sessions>,
    tail: Arc<Tail>,
    clients: Clients,
}

impl Figures {
    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.sessions.count()
    }

    /// How many messages are delivered and not known to be persisted.
    pub fn unpersisted(&self) -> usize {
        self.tail.unpersisted()
    }

    /// The clients of the services beside the backend.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What each consumer group has before it in each partition, and how far each partition goes, as this log says it.
    /// Each topic's end is asked for once.
    pub async fn lag(&self, log: &dyn EventLog) -> Result<(Vec<PartitionLag>, Vec<Position>), LogError> {
        let mut ends = Vec::new();
        for topic in Topic::ALL {
            ends.extend(log.end(topic).await?);
        }
        let mut lags = Vec::new();
        for (group, topic) in groups(&self.clients) {
            let committed = log.committed(group, topic).await?;
            for end in ends.iter().filter(|end| end.topic == topic) {
                lags.push(PartitionLag { group, at: end.topic_partition(), records: behind(end, &committed) });
            }
        }
        Ok((lags, ends))
    }
}

/// The consumer groups that run where the consumers do, each with every topic it reads.
fn groups(clients: &Clients) -> Vec<(&'static str, Topic)> {
    let mut groups = vec![(conversation_persistence::GROUP, Topic::ConversationUpdated)];
    groups.extend(message_persistence::TOPICS.iter().map(|topic| (message_persistence::GROUP, *topic)));
    if clients.search.is_configured() {
        groups.extend(search_indexing::TOPICS.iter().map(|topic| (search_indexing::GROUP, *topic)));
    }
    if clients.media.is_configured() {
        groups.extend(media_verification::TOPICS.iter().map(|topic| (media_verification::GROUP, *topic)));
    }
    groups
}

/// Which parts of a node run (S5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The socket service with its fan-out.
    pub socket: bool,
    /// The consumers.
    pub consumer: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self { socket: true, consumer: true }
    }
}

/// How a node is started.
pub struct NodeOptions {
    /// The node's name, unique among the nodes that share a log.
    pub name: String,
    /// Where the chat service listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it runs on.
    pub backend: Backend,
    /// The services beside it.
    pub clients: Clients,
    /// Business time.
    pub clock: Clock,
    /// The recorder's probe.
    pub probe: Probe,
    /// What tokens are checked with.
    pub token_key: TokenKey,
    /// Limits.
    pub limits: Limits,
    /// Which parts run.
    pub roles: Roles,
}

/// What the handlers of the socket service use.
pub struct Services {
    /// The node's name.
    pub name: String,
    /// Business time.
    pub clock: Clock,
    /// The recorder's probe.
    pub probe: Probe,
    /// What tokens are checked with.
    pub token_key: TokenKey,
    /// Limits.
    pub limits: Limits,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// What senders are told.
    pub acknowledgments: Arc<Acknowledgments>,
    /// The conversation service.
    pub conversations: Arc<Conversations>,
    /// The message service.
    pub messages: Arc<Messages>,
    /// What happens to messages after they were sent.
    pub changes: Arc<MessageChanges>,
    /// `search:query`.
    pub search: Search,
    /// `sync`.
    pub sync: SyncService,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not allowed.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The log could not be read up to its end.
    #[error("the event log could not be read within {} s", .0.as_secs())]
    NotCaughtUp(Duration),
}

/// How long a starting node may take to read what is delivered and not persisted.
const CATCH_UP_LIMIT: Duration = Duration::from_mins(1);
/// How long the parts of a node may take to end before they are dropped.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Runs a member of a consumer group until the node ends.
fn spawn_group<W: Work + 'static>(tasks: &mut JoinSet<()>, work: W, log: &Arc<dyn EventLog>, stop: &CancellationToken) {
    let (log, stop) = (Arc::clone(log), stop.clone());
    tasks.spawn(async move { group::run(work, log.as_ref(), &stop).await });
}

/// A running node.
pub struct Node {
    address: SocketAddr,
    log: Arc<dyn EventLog>,
    cache: Arc<dyn ConversationCache>,
    sessions: Arc<Sessions>,
    tail: Arc<Tail>,
    clients: Clients,
    io: SocketIo,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Node {
    /// Starts a node. When this returns, it takes connections.
    pub fn start(options: NodeOptions) -> BoxFuture<'static, Result<Self, StartError>> {
        Box::pin(async move {
            let NodeOptions { name, listen, backend, clients, clock, probe, token_key, limits, roles } = options;
            let failed = |error| StartError::Listen { address: listen, error };
            let listener = TcpListener::bind(listen).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;

            let stop = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let outbox = Arc::new(Outbox::default());
            let conversations = Arc::new(Conversations::new(
                Arc::clone(&backend.conversations),
                Arc::clone(&backend.participants),
                Arc::clone(&backend.cache),
                clock.clone(),
                Arc::clone(&outbox),
            ));
            let tail = Arc::new(Tail::default());
            let sessions = Arc::new(Sessions::default());
            let acknowledgments = Arc::new(Acknowledgments::new(clock.clone(), probe.clone()));

            // The relay runs wherever changes are made.
            let relay = OutboxRelay {
                log: Arc::clone(&backend.log),
                conversations: Arc::clone(&backend.conversations),
                outbox: Arc::clone(&outbox),
                stop: stop.clone(),
            };
            tasks.spawn(relay.run());

            if roles.consumer {
                let persistence = MessagePersistence {
                    log: Arc::clone(&backend.log),
                    messages: Arc::clone(&backend.messages),
                    acknowledgments: AcknowledgmentProducer::new(Arc::clone(&backend.log), stop.clone()),
                    clock: clock.clone(),
                    probe: probe.clone(),
                    stop: stop.clone(),
                };
                spawn_group(&mut tasks, persistence, &backend.log, &stop);
                let persistence = ConversationPersistence {
                    log: Arc::clone(&backend.log),
                    repository: Arc::clone(&backend.conversations),
                    conversations: Arc::clone(&conversations),
                    clock: clock.clone(),
                    stop: stop.clone(),
                };
                spawn_group(&mut tasks, persistence, &backend.log, &stop);
                if clients.search.is_configured() {
                    let indexing = SearchIndexing {
                        log: Arc::clone(&backend.log),
                        client: Arc::clone(&clients.search),
                        clock: clock.clone(),
                        probe: probe.clone(),
                        stop: stop.clone(),
                    };
                    spawn_group(&mut tasks, indexing, &backend.log, &stop);
                }
                if clients.media.is_configured() {
                    let verification = MediaVerification {
                        log: Arc::clone(&backend.log),
                        client: Arc::clone(&clients.media),
                        messages: Arc::clone(&backend.messages),
                        clock: clock.clone(),
                        stop: stop.clone(),
                    };
                    spawn_group(&mut tasks, verification, &backend.log, &stop);
                }
            }

            let media = Arc::new(Media {
                client: Arc::clone(&clients.media),
                conversations: Arc::clone(&conversations),
                repository: Arc::clone(&backend.messages),
                tail: Arc::clone(&tail),
                options: clients.media_options,
            });
            let messages = Arc::new(Messages {
                conversations: Arc::clone(&conversations),
                repository: Arc::clone(&backend.messages),
                log: Arc::clone(&backend.log),
                tail: Arc::clone(&tail),
                acknowledgments: Arc::clone(&acknowledgments),
                media,
                clock: clock.clone(),
                probe: probe.clone(),
                limits: limits.clone(),
            });
            let fan_out = FanOut {
                log: Arc::clone(&backend.log),
                conversations: Arc::clone(&conversations),
                messages: Arc::clone(&messages),
                sessions: Arc::clone(&sessions),
                acknowledgments: Arc::clone(&acknowledgments),
                tail: Arc::clone(&tail),
                clock: clock.clone(),
                probe: probe.clone(),
                stop: stop.clone(),
            };
            let (caught_up, is_caught_up) = oneshot::channel();
            if roles.socket {
                tasks.spawn(fan_out.run(caught_up));
                tasks.spawn(fan_out::settle_changes(Arc::clone(&backend.log), Arc::clone(&tail), stop.clone()));
                if tokio::time::timeout(CATCH_UP_LIMIT, is_caught_up).await.is_err() {
                    stop.cancel();
                    return Err(StartError::NotCaughtUp(CATCH_UP_LIMIT));
                }
            }

            let changes = Arc::new(MessageChanges {
                messages: Arc::clone(&messages),
                outbox_store: Arc::clone(&backend.conversations),
                outbox,
                on_their_way: Arc::default(),
            });
            let search = Search { client: Arc::clone(&clients.search), messages: Arc::clone(&messages) };
            let sync = SyncService {
                log: Arc::clone(&backend.log),
                conversations: Arc::clone(&conversations),
                messages: Arc::clone(&messages),
                limits: limits.clone(),
            };
            let (layer, io) = SocketIo::builder()
                .max_payload(limits.frame_max_bytes as u64)
                .ws_max_message_size(limits.frame_max_bytes)
                .ws_max_frame_size(limits.frame_max_bytes)
                .max_buffer_size(limits.outbound_queue_max)
                .ping_interval(limits.ping_interval)
                .ping_timeout(limits.ping_timeout)
                .build_layer();
            let services = Arc::new(Services {
                name,
                clock,
                probe,
                token_key,
                limits,
                sessions: Arc::clone(&sessions),
                acknowledgments,
                conversations,
                messages,
                changes,
                search,
                sync,
            });
            let mut app = Router::new().route("/healthz", get(|| std::future::ready("ok")));
            if roles.socket {
                io.ns(NAMESPACE, Admission::new(services));
                // Who may connect is the token's to say; a web page needs this for the polling transport.
                app = app.layer(layer).layer(CorsLayer::permissive());
            }
            let stopped = stop.clone().cancelled_owned();
            // Acknowledgments are small packets: without this the kernel holds them back for 40 ms.
            let listener = listener.tap_io(|connection| {
                if let Err(error) = connection.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its packets together");
                }
            });
            tasks.spawn(async move {
                if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                    tracing::error!(%error, "the chat service ended");
                }
            });
            Ok(Self { address, log: backend.log, cache: backend.cache, sessions, tail, clients, io, stop, tasks })
        })
    }

    /// Where the chat service listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many records each consumer group has before it, by topic.
    pub fn lag(&self) -> BoxFuture<'_, Result<Lags, LogError>> {
        Box::pin(async move {
            let mut lags = Vec::new();
            for (group, topic) in groups(&self.clients) {
                let ends = self.log.end(topic).await?;
                let committed = self.log.committed(group, topic).await?;
                lags.push((group.to_owned(), topic, ends.iter().map(|end| behind(end, &committed)).sum()));
            }
            Ok(lags)
        })
    }

    /// How many messages are delivered and not known to be persisted.
    pub fn unpersisted(&self) -> usize {
        self.tail.unpersisted()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.sessions.count()
    }

    /// The clients of the services beside the backend, for figures.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// What is told of its health. Hold it no longer than the node runs.
    pub fn figures(&self) -> Figures {
        Figures { sessions: Arc::clone(&self.sessions), tail: Arc::clone(&self.tail), clients: self.clients.clone() }
    }

    /// The cache, for figures.
    pub fn cache(&self) -> &Arc<dyn ConversationCache> {
        &self.cache
    }

    /// Ends the node: connections are closed, consumers stop after the batch they work on.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut this = self;
            this.stop.cancel();
            let end = async {
                // The library forgets its sockets before it closes their transports; those that are still registered
                // would never be told and would keep the services, and with them the store, open for good.
                let sockets = this.io.of(NAMESPACE).map(BroadcastOperators::sockets).unwrap_or_default();
                this.io.close().await;
                for socket in sockets {
                    // One that is closed by now is what was wanted.
                    let (Ok(()) | Err(_)) = socket.disconnect();
                }
                while this.tasks.join_next().await.is_some() {}
            };
            if tokio::time::timeout(SHUTDOWN_LIMIT, end).await.is_err() {
                tracing::warn!("parts of the node did not end in time and are dropped");
            }
            this.tasks.abort_all();
        })
    }
}
