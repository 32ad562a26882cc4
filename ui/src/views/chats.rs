//! The users' chats: side by side as far as there is room, the others as tabs behind them.

use std::collections::HashMap;

use ackscope_protocol::UserId;
use egui::{RichText, Ui};
use egui_tiles::{Tile, TileId, Tiles, Tree};

use super::users::UserPane;
use super::{Action, Scene, widgets};
use crate::dock::TileLook;
use crate::state::{Run, User};
use crate::theme::strong_family;

/// Narrowest chat that can be read, in points.
const CHAT_WIDTH_MIN: f32 = 215.0;
/// Most chats that stand side by side at first.
const SIDE_BY_SIDE_MAX: usize = 4;
/// Most chats: nobody looks at more, and a load test has thousands of users.
pub const CHATS_MAX: usize = 32;

/// The chats and what each of them remembers.
pub struct Chats {
    tree: Tree<UserId>,
    row: TileId,
    shown: usize,
    panes: HashMap<UserId, UserPane>,
}

impl Default for Chats {
    fn default() -> Self {
        let mut tiles = Tiles::default();
        let row = tiles.insert_horizontal_tile(Vec::new());
        Self { tree: Tree::new(egui::Id::unique("chats"), row, tiles), row, shown: 0, panes: HashMap::new() }
    }
}

impl Chats {
    /// What a user's chat remembers.
    pub fn user(&mut self, user_id: &UserId) -> &mut UserPane {
        self.panes.entry(user_id.clone()).or_default()
    }

    /// Every chat that was drawn.
    pub fn panes_mut(&mut self) -> impl Iterator<Item = &mut UserPane> {
        self.panes.values_mut()
    }

    /// Brings a user's chat to the front of its tabs.
    pub fn show(&mut self, user_id: &UserId) {
        self.tree.make_active(|_, tile| matches!(tile, Tile::Pane(other) if other == user_id));
    }

    /// Whether a user's chat can be seen, if the pane can.
    pub fn is_in_front(&self, user_id: &UserId) -> bool {
        self.tree.tiles.find_pane(user_id).is_some_and(|id| self.tree.active_tiles().contains(&id))
    }

    /// A chat for each user that has come since the last frame.
    fn follow(&mut self, run: &Run, width: f32) {
        let known = run.users().len().min(CHATS_MAX);
        if known == self.shown {
            return;
        }
        let side_by_side = ((width / CHAT_WIDTH_MIN) as usize).clamp(1, SIDE_BY_SIDE_MAX);
        for user in run.users().iter().take(known).skip(self.shown) {
            let pane = self.tree.tiles.insert_pane(user.user_id.clone());
            let beside = self.beside();
            if beside.len() < side_by_side {
                let tabs = self.tree.tiles.insert_tab_tile(vec![pane]);
                if let Some(Tile::Container(row)) = self.tree.tiles.get_mut(self.row) {
                    row.add_child(tabs);
                }
            } else if let Some(id) = beside.get(self.tree.tiles.len() % beside.len())
                && let Some(Tile::Container(container)) = self.tree.tiles.get_mut(*id)
            {
                // The person keeps what is in front.
                container.add_child(pane);
            }
        }
        self.shown = known;
    }

    fn beside(&self) -> Vec<TileId> {
        match self.tree.tiles.get(self.row) {
            Some(Tile::Container(row)) => row.children().copied().collect(),
            _ => Vec::new(),
        }
    }

    /// Draws the chats.
    pub fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        if scene.run.users().is_empty() {
            no_users_ui(ui, scene);
            return;
        }
        self.follow(scene.run, ui.available_width());
        let (run, tokens) = (scene.run, scene.tokens);
        let panes = &mut self.panes;
        let mut look = TileLook {
            tokens,
            is_dock: false,
            title: &|user_id: &UserId| match run.user_by_id(user_id) {
                Some(user) if user.is_connected() => {
                    RichText::new(title(user)).color(tokens.text).family(strong_family())
                }
                Some(user) => widgets::weak(tokens, format!("{} (offline)", title(user))),
                None => widgets::weak(tokens, user_id.as_str()),
            },
            show: &mut |ui, user_id: &mut UserId| {
                if let Some(user) = run.user_by_id(user_id) {
                    panes.entry(user_id.clone()).or_default().ui(ui, scene, user);
                }
            },
            trailing: &|_, _| {},
        };
        self.tree.ui(&mut look, ui);
    }
}

fn title(user: &User) -> String {
    match &user.device_of {
        Some(of) => format!("{} (of {of})", user.user_id),
        None => user.user_id.to_string(),
    }
}

fn no_users_ui(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tokens = scene.tokens;
    let (title, text) = if scene.is_ready {
        ("No users yet", "Let the tour bring some along, or add one and write as that user")
    } else {
        ("Waiting for the harness", "Simulated users appear here as soon as it answers")
    };
    let is_ready = scene.is_ready;
    widgets::empty_state(ui, tokens, title, text, |ui| {
        if !is_ready {
            return;
        }
        if ui.add(widgets::primary_button(tokens, "Let the tour begin")).clicked() {
            scene.command(ackscope_protocol::control::Command::PlayTour);
        }
        if ui.button("Add a user…").clicked() {
            scene.ask(Action::AddUser);
        }
    });
}
