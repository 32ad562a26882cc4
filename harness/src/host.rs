//! World and control server together, as `ackscope serve` and the desktop shell start them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ackscope_core::limits::Limits;
use ackscope_core::media::WhenMediaIsDown;
use ackscope_core::token::TokenKey;
use ackscope_protocol::control::BackendKind;
use ackscope_protocol::text::Title;
use ackscope_protocol::wire::{Conversation, ConversationKind, CreateConversation, ListConversations};
use ackscope_protocol::{UserId, WireError, control};
use futures_util::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::control::{ControlError, ControlServer, PlayTour, ScenarioOptions, scenarios_folder};
use crate::environment::{BackendChoice, EnvironmentOptions};
use crate::recording::RecordOptions;
use crate::users::{SimulatedUser, UserError};
use crate::world::{World, WorldError, WorldOptions};

/// The users somebody meets who starts for the first time.
const FIRST_USERS: [&str; 3] = ["ana", "ben", "cleo"];
/// The title of the group they are in.
const FIRST_GROUP: &str = "Release team";
/// Pages of conversations that are looked through for that group; with more it is made anew.
const GROUP_PAGES_MAX: u32 = 100;
/// How long a tour that is playing may take to stop.
const TOUR_STOP_LIMIT: Duration = Duration::from_secs(2);

/// How a host is started.
pub struct HostOptions {
    /// The backend.
    pub environment: EnvironmentOptions,
    /// Where the chat service listens. Loopback and a free port by default; whoever binds it elsewhere lets
    /// others try tokens.
    pub chat: SocketAddr,
    /// Where the interface is served; absent: on loopback at a free port. Whoever binds it elsewhere sends the
    /// interface's token over that network in the clear.
    pub ui: Option<SocketAddr>,
    /// Limits of the socket service.
    pub limits: Limits,
    /// What happens to messages with media while the media service does not answer.
    pub unverified_media: WhenMediaIsDown,
    /// Users that are connected from the start. The first one makes the group they are all in, if there are two
    /// or more.
    pub users: Vec<UserId>,
    /// Title of that group.
    pub group: Option<Title>,
    /// Whether the tour plays right away.
    pub play_tour: bool,
    /// What playing the tour means.
    pub tour: PlayTour,
    /// The key tokens are signed with; absent: one for this run, so that nobody outside can make a token.
    pub token_key: Option<TokenKey>,
    /// The file the run is recorded to while it goes, if it is.
    pub record: Option<RecordOptions>,
    /// The folder of scenario files the interface lists and writes; absent: [`scenarios_folder`].
    pub scenarios: Option<PathBuf>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            environment: EnvironmentOptions::default(),
            chat: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ui: None,
            limits: Limits::default(),
            unverified_media: WhenMediaIsDown::default(),
            users: FIRST_USERS.iter().filter_map(|name| name.parse().ok()).collect(),
            group: Title::new(FIRST_GROUP).ok(),
            play_tour: false,
            tour: Arc::new(|world| {
                Box::pin(async move { crate::scenario::play_tour(world).await.map_err(|error| error.to_string()) })
            }),
            token_key: None,
            record: None,
            scenarios: None,
        }
    }
}

impl std::fmt::Debug for HostOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostOptions")
            .field("environment", &self.environment)
            .field("chat", &self.chat)
            .field("ui", &self.ui)
            .field("users", &self.users)
            .field("play_tour", &self.play_tour)
            .finish_non_exhaustive()
    }
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The world did not start.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The control server did not start.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The first users' group could not be made.
    #[error("the group of the first users could not be made: {0}")]
    Group(#[from] WireError),
}

impl From<UserError> for HostError {
    fn from(error: UserError) -> Self {
        Self::World(error.into())
    }
}

impl HostError {
    /// Whether the request was wrong (exit code 2), rather than the environment (exit code 3).
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::World(error) if error.is_usage())
    }
}

/// A running world with its control server.
#[derive(Debug)]
pub struct Host {
    world: Arc<World>,
    control: ControlServer,
    environment: control::Environment,
    tour: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts everything. When this returns, chat and interface take connections. Dropping the future undoes
    /// what it did so far.
    pub fn start(options: HostOptions) -> BoxFuture<'static, Result<Self, HostError>> {
        Box::pin(async move {
            // What scenarios are played in is like the run, and keeps nothing.
            let of_scenarios = WorldOptions {
                environment: EnvironmentOptions {
                    data: None,
                    namespace: None,
                    keep: false,
                    progress: None,
                    ..options.environment.clone()
                },
                limits: options.limits.clone(),
                unverified_media: options.unverified_media,
                ..WorldOptions::default()
            };
            let world = World::start(WorldOptions {
                environment: options.environment,
                chat: options.chat,
                token_key: options.token_key,
                limits: options.limits,
                unverified_media: options.unverified_media,
                record: options.record,
                ..WorldOptions::default()
            })
            .await?;
            let world = Arc::new(world);
            let mut scenarios =
                ScenarioOptions { folder: options.scenarios.unwrap_or_else(scenarios_folder), world: of_scenarios };
            // What was chosen by itself is not chosen anew for each.
            scenarios.world.environment.choice = match world.backend_kind() {
                BackendKind::Embedded => BackendChoice::Embedded,
                BackendKind::Containers => BackendChoice::Containers,
                BackendKind::External => BackendChoice::External,
            };
            let started =
                Self::furnish(&world, &options.users, options.group, options.ui, &options.tour, scenarios).await;
            match started {
                Ok(control) => {
                    let tour = options.play_tour.then(|| tokio::spawn(play(Arc::clone(&world), options.tour)));
                    Ok(Self { environment: world.environment(), world, control, tour })
                }
                Err(error) => {
                    world.shutdown().await;
                    Err(error)
                }
            }
        })
    }

    async fn furnish(
        world: &Arc<World>,
        users: &[UserId],
        group: Option<Title>,
        ui: Option<SocketAddr>,
        tour: &PlayTour,
        scenarios: ScenarioOptions,
    ) -> Result<ControlServer, HostError> {
        let listen = ui.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        // Before the users: a taken port is the likeliest thing to go wrong.
        let control = ControlServer::start(listen, Arc::clone(world), Arc::clone(tour), scenarios).await?;
        for user in users {
            world.add_user(user).await?;
        }
        if let ([creator, others @ ..], Some(title)) = (users, group)
            && !others.is_empty()
        {
            let creator = world.user(creator)?;
            if !has_group(&creator, others, &title).await? {
                let request = CreateConversation {
                    kind: ConversationKind::Group,
                    participants: others.to_vec(),
                    title: Some(title),
                };
                creator.request(&request).await??;
            }
        }
        Ok(control)
    }

    /// What runs in it.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Where the chat service listens, such as `http://127.0.0.1:41234`.
    pub fn chat_url(&self) -> &str {
        self.world.chat_url()
    }

    /// The interface's address, token included.
    pub fn ui_url(&self) -> &str {
        self.control.url()
    }

    /// Which backend runs, and why.
    pub fn environment(&self) -> &control::Environment {
        &self.environment
    }

    /// Ends everything and removes what is not kept.
    pub fn shutdown(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { world, control, environment: _, tour } = self;
            if let Some(tour) = tour {
                tour.abort();
                // It stops at its next wait; an error only says that it was stopped.
                if tokio::time::timeout(TOUR_STOP_LIMIT, tour).await.is_err() {
                    tracing::warn!("the tour did not stop in time");
                }
            }
            control.shutdown().await;
            world.shutdown().await;
        })
    }
}

async fn play(world: Arc<World>, tour: PlayTour) {
    if let Err(sentence) = tour(Arc::clone(&world)).await {
        world.mark(format!("the tour ended early: {sentence}"));
    }
}

/// Whether a group of that title with everybody in it is there from an earlier run.
async fn has_group(creator: &SimulatedUser, others: &[UserId], title: &Title) -> Result<bool, HostError> {
    let is_it = |conversation: &Conversation| {
        let is_in = |user: &UserId| conversation.participants.iter().any(|participant| participant.user_id == *user);
        conversation.kind == ConversationKind::Group
            && conversation.title.as_ref() == Some(title)
            && others.iter().all(is_in)
    };
    let mut request = ListConversations::default();
    for _ in 0..GROUP_PAGES_MAX {
        let page = creator.request(&request).await??;
        if page.conversations.iter().any(is_it) {
            return Ok(true);
        }
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => break,
        }
    }
    Ok(false)
}
