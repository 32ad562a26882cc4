//! The panes, and how they are laid out: a tree of tiles that a person rearranges and that is remembered.

use std::collections::HashSet;

use egui::accesskit::Role;
use egui::{Color32, Rect, Response, RichText, Sense, Stroke, TextStyle, Ui, Vec2, WidgetInfo, WidgetText, pos2, vec2};
use egui_tiles::{
    Behavior, Container, Linear, LinearDir, SimplificationOptions, Tabs, Tile, TileId, Tiles, Tree, UiResponse,
};
use serde::{Deserialize, Serialize};

use crate::theme::{Tokens, strong_family};

/// A pane of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pane {
    /// A chat for each simulated user.
    Users,
    /// A lane for each message.
    Timeline,
    /// The way of the selected message.
    Message,
    /// The picture of the backend.
    Pipeline,
    /// Percentiles and histograms.
    Latency,
    /// What can be broken, and what is.
    Faults,
    /// Scenario files.
    Scenarios,
    /// Store, cache, log and index.
    Inspector,
    /// Another run beside this one.
    Compare,
}

impl Pane {
    /// Every pane, in the order of their number keys.
    pub const ALL: [Self; 9] = [
        Self::Users,
        Self::Timeline,
        Self::Message,
        Self::Pipeline,
        Self::Latency,
        Self::Faults,
        Self::Scenarios,
        Self::Inspector,
        Self::Compare,
    ];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Self::Users => "Users",
            Self::Timeline => "Timeline",
            Self::Message => "Message",
            Self::Pipeline => "Pipeline",
            Self::Latency => "Latency",
            Self::Faults => "Faults",
            Self::Scenarios => "Scenarios",
            Self::Inspector => "Inspector",
            Self::Compare => "Compare",
        }
    }

    /// What it is for, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            Self::Users => "a chat for each simulated user",
            Self::Timeline => "a lane for each message",
            Self::Message => "the way of the selected message",
            Self::Pipeline => "the backend, live",
            Self::Latency => "percentiles and histograms against the budgets",
            Self::Faults => "what can be broken, and what is",
            Self::Scenarios => "open, run and step through scenario files",
            Self::Inspector => "store, cache, log and index",
            Self::Compare => "a recording beside the run that is shown",
        }
    }
}

/// A layout as it is remembered. Short, because a cookie has to hold it; and with nothing in it that could name a
/// tile twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// Panes behind each other, and which of them is in front.
    Tabs(Vec<Pane>, usize),
    /// Side by side, each with its share.
    Row(Vec<(f32, Layout)>),
    /// Above each other, each with its share.
    Column(Vec<(f32, Layout)>),
}

/// Deepest nesting of a layout that is read.
const DEPTH_MAX: usize = 8;

impl Default for Layout {
    fn default() -> Self {
        Self::Row(vec![
            (0.37, Self::Tabs(vec![Pane::Users], 0)),
            (
                0.63,
                Self::Column(vec![
                    (0.52, Self::Tabs(vec![Pane::Timeline, Pane::Pipeline, Pane::Scenarios], 0)),
                    (
                        0.48,
                        Self::Tabs(vec![Pane::Message, Pane::Inspector, Pane::Latency, Pane::Faults, Pane::Compare], 0),
                    ),
                ]),
            ),
        ])
    }
}

impl Layout {
    /// Inserts the tiles. A pane that stands there twice is taken once; what holds nothing is left out.
    fn insert(&self, tiles: &mut Tiles<Pane>, seen: &mut HashSet<Pane>, depth: usize) -> Option<TileId> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self {
            Self::Tabs(panes, front) => {
                let front = panes.get(*front).copied();
                let mut active = None;
                let mut children = Vec::new();
                for pane in panes {
                    if seen.insert(*pane) {
                        let id = tiles.insert_pane(*pane);
                        if Some(*pane) == front {
                            active = Some(id);
                        }
                        children.push(id);
                    }
                }
                let first = *children.first()?;
                let mut tabs = Tabs::new(children);
                tabs.set_active(active.unwrap_or(first));
                Some(tiles.insert_container(tabs))
            }
            Self::Row(parts) => Self::insert_line(LinearDir::Horizontal, parts, tiles, seen, depth),
            Self::Column(parts) => Self::insert_line(LinearDir::Vertical, parts, tiles, seen, depth),
        }
    }

    fn insert_line(
        dir: LinearDir,
        parts: &[(f32, Self)],
        tiles: &mut Tiles<Pane>,
        seen: &mut HashSet<Pane>,
        depth: usize,
    ) -> Option<TileId> {
        let mut children = Vec::new();
        for (share, part) in parts {
            if let Some(id) = part.insert(tiles, seen, depth + 1) {
                children.push((id, if share.is_finite() { share.clamp(0.02, 100.0) } else { 1.0 }));
            }
        }
        if children.is_empty() {
            return None;
        }
        let mut line = Linear::new(dir, children.iter().map(|(id, _)| *id).collect());
        for (id, share) in children {
            line.shares.set_share(id, share);
        }
        Some(tiles.insert_container(line))
    }

    fn of(tree: &Tree<Pane>, id: TileId) -> Option<Self> {
        match tree.tiles.get(id)? {
            Tile::Pane(pane) => Some(Self::Tabs(vec![*pane], 0)),
            Tile::Container(Container::Tabs(tabs)) => {
                let panes: Vec<(TileId, Pane)> =
                    tabs.children.iter().filter_map(|child| Some((*child, *tree.tiles.get_pane(child)?))).collect();
                let front = panes.iter().position(|(child, _)| tabs.is_active(*child)).unwrap_or(0);
                Some(Self::Tabs(panes.into_iter().map(|(_, pane)| pane).collect(), front))
            }
            Tile::Container(Container::Linear(line)) => {
                let sum: f32 = line.children.iter().map(|child| line.shares[*child]).sum();
                let parts = line.children.iter().filter_map(|child| {
                    // Two places are enough for a share, and keep the text short.
                    let share = (line.shares[*child] / sum * 100.0).round() / 100.0;
                    Some((share, Self::of(tree, *child)?))
                });
                let parts = parts.collect();
                Some(match line.dir {
                    LinearDir::Horizontal => Self::Row(parts),
                    LinearDir::Vertical => Self::Column(parts),
                })
            }
            Tile::Container(Container::Grid(grid)) => {
                Some(Self::Row(grid.children().filter_map(|child| Some((1.0, Self::of(tree, *child)?))).collect()))
            }
        }
    }
}

/// The panes in their tiles.
pub struct Dock {
    tree: Tree<Pane>,
}

impl Default for Dock {
    fn default() -> Self {
        Self::from_layout(&Layout::default())
    }
}

impl Dock {
    /// The layout with every pane of it.
    pub fn from_layout(layout: &Layout) -> Self {
        let mut tiles = Tiles::default();
        let id = egui::Id::unique("panes");
        let tree = match layout.insert(&mut tiles, &mut HashSet::new(), 0) {
            Some(root) => Tree::new(id, root, tiles),
            None => Tree::empty(id),
        };
        Self { tree }
    }

    /// The layout as it stands.
    pub fn layout(&self) -> Option<Layout> {
        Layout::of(&self.tree, self.tree.root()?)
    }

    /// Whether a pane is somewhere in the dock.
    pub fn is_open(&self, pane: Pane) -> bool {
        self.tree.tiles.find_pane(&pane).is_some()
    }

    /// Whether a pane can be seen.
    pub fn is_in_front(&self, pane: Pane) -> bool {
        self.tree.tiles.find_pane(&pane).is_some_and(|id| self.tree.active_tiles().contains(&id))
    }

    /// Where a pane was drawn last, with its tab; `None` when it is closed.
    pub fn rect(&self, pane: Pane) -> Option<Rect> {
        let id = self.tree.tiles.find_pane(&pane)?;
        let tabs = self.tree.tiles.parent_of(id).unwrap_or(id);
        self.tree.tiles.rect(tabs)
    }

    /// Brings a pane to the front of its tabs; one that was closed comes back as a tab where there is most room.
    pub fn open(&mut self, pane: Pane) {
        if self.tree.tiles.find_pane(&pane).is_none() {
            let id = self.tree.tiles.insert_pane(pane);
            let largest = self
                .tree
                .tiles
                .iter()
                .filter(|(_, tile)| matches!(tile, Tile::Container(Container::Tabs(_))))
                .map(|(id, _)| (*id, self.tree.tiles.rect(*id).map_or(0.0, |rect| rect.area())))
                .max_by(|a, b| a.1.total_cmp(&b.1));
            if let Some((tabs, _)) = largest
                && let Some(Tile::Container(tabs)) = self.tree.tiles.get_mut(tabs)
            {
                tabs.add_child(id);
            } else {
                let root = self.tree.tiles.insert_tab_tile(vec![id]);
                self.tree.root = Some(root);
            }
        }
        self.tree.make_active(|_, tile| matches!(tile, Tile::Pane(other) if *other == pane));
    }

    /// Takes a pane away.
    pub fn close(&mut self, pane: Pane) {
        if let Some(id) = self.tree.tiles.find_pane(&pane) {
            self.tree.remove_recursively(id);
        }
    }

    /// Draws the panes with what `show` draws for each, under the names that `title` gives.
    pub fn ui(
        &mut self,
        ui: &mut Ui,
        tokens: &'static Tokens,
        title: &dyn Fn(Pane) -> String,
        show: &mut dyn FnMut(&mut Ui, Pane),
        trailing: &dyn Fn(&mut Ui, Pane),
    ) {
        let mut tiles = TileLook {
            tokens,
            is_dock: true,
            title: &|pane: &Pane| RichText::new(title(*pane)).color(tokens.text).family(strong_family()),
            show: &mut |ui, pane: &mut Pane| show(ui, *pane),
            trailing: &|ui, pane: &Pane| trailing(ui, *pane),
        };
        self.tree.ui(&mut tiles, ui);
    }
}

/// Beside the title of a tab.
const TAB_MARGIN: f32 = 10.0;
/// Of the button that closes a pane.
const CLOSE_SIZE: f32 = 16.0;

/// How tiles look, whatever is in them.
pub(crate) struct TileLook<'a, P> {
    pub(crate) tokens: &'static Tokens,
    /// Whether panes can be closed and rows may go away; rows of chats stay, so that the next user finds a place.
    pub(crate) is_dock: bool,
    pub(crate) title: &'a dyn Fn(&P) -> RichText,
    pub(crate) show: &'a mut dyn FnMut(&mut Ui, &mut P),
    pub(crate) trailing: &'a dyn Fn(&mut Ui, &P),
}

impl<P> Behavior<P> for TileLook<'_, P> {
    fn pane_ui(&mut self, ui: &mut Ui, _tile_id: TileId, pane: &mut P) -> UiResponse {
        ui.painter().rect_filled(ui.max_rect(), 0.0, self.tokens.surface);
        (self.show)(ui, pane);
        UiResponse::None
    }

    fn tab_title_for_pane(&mut self, pane: &P) -> WidgetText {
        (self.title)(pane).into()
    }

    fn tab_ui(
        &mut self,
        tiles: &mut Tiles<P>,
        ui: &mut Ui,
        id: egui::Id,
        tile_id: TileId,
        state: &egui_tiles::TabState,
    ) -> Response {
        let title = self.tab_title_for_tile(tiles, tile_id);
        let name = title.text().to_owned();
        let font = TextStyle::Button.resolve(ui.style());
        let galley = title.into_galley(ui, Some(egui::TextWrapMode::Extend), f32::INFINITY, font);
        let room_for_close = if state.closable { CLOSE_SIZE } else { 0.0 };
        let width = galley.size().x + 2.0 * TAB_MARGIN + room_for_close;
        let (_, rect) = ui.allocate_space(Vec2::new(width, ui.available_height()));
        let response = ui.interact(rect, id, Sense::click_and_drag()).on_hover_cursor(egui::CursorIcon::Grab);
        let is_active = state.active;
        response.widget_info(|| WidgetInfo::labeled(Role::Tab, true, &name));
        ui.ctx().accesskit_node_builder(response.id, |node| node.set_selected(is_active));
        let close = Rect::from_center_size(
            pos2(rect.right() - TAB_MARGIN - CLOSE_SIZE / 2.0 + 4.0, rect.center().y),
            Vec2::splat(CLOSE_SIZE),
        );
        let close = state.closable.then(|| {
            let close = ui.interact(close, id.with("close"), Sense::click()).on_hover_cursor(egui::CursorIcon::Default);
            // Eight of them that are all called the same are of no use to somebody who hears them.
            close.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Close {name}")));
            close
        });
        if ui.is_rect_visible(rect) && !state.is_being_dragged {
            let tokens = self.tokens;
            let painter = ui.painter();
            painter.rect_filled(rect, 0.0, if is_active { tokens.accent_soft } else { tokens.surface });
            if response.has_focus() {
                let stroke = Stroke::new(1.5, tokens.accent);
                painter.rect_stroke(rect.shrink(1.0), 0.0, stroke, egui::StrokeKind::Inside);
            }
            let place =
                egui::Align2::LEFT_CENTER.anchor_size(rect.left_center() + vec2(TAB_MARGIN, 0.0), galley.size());
            painter.galley(place.min, galley, tokens.text);
            if let Some(close) = &close {
                let is_lit = close.hovered() || close.has_focus();
                if is_lit {
                    painter.rect_filled(close.rect, crate::theme::RADIUS_BAR, tokens.hovered);
                }
                let stroke = Stroke::new(1.2, if is_lit { tokens.text } else { tokens.text_weak });
                let arms = close.rect.shrink(4.5);
                painter.line_segment([arms.left_top(), arms.right_bottom()], stroke);
                painter.line_segment([arms.right_top(), arms.left_bottom()], stroke);
            }
        }
        if state.closable
            && (close.is_some_and(|close| close.clicked()) || response.clicked_by(egui::PointerButton::Middle))
        {
            tiles.remove(tile_id);
        }
        response
    }

    fn is_tab_closable(&self, tiles: &Tiles<P>, tile_id: TileId) -> bool {
        self.is_dock && tiles.get_pane(&tile_id).is_some()
    }

    fn top_bar_right_ui(
        &mut self,
        tiles: &Tiles<P>,
        ui: &mut Ui,
        _tile_id: TileId,
        tabs: &Tabs,
        _scroll_offset: &mut f32,
    ) {
        if let Some(pane) = tabs.active.and_then(|active| tiles.get_pane(&active)) {
            (self.trailing)(ui, pane);
        }
    }

    fn tab_bar_height(&self, _style: &egui::Style) -> f32 {
        32.0
    }

    fn gap_width(&self, _style: &egui::Style) -> f32 {
        6.0
    }

    fn min_size(&self) -> f32 {
        140.0
    }

    fn tab_bar_color(&self, _visuals: &egui::Visuals) -> Color32 {
        self.tokens.surface
    }

    fn tab_bar_hline_stroke(&self, _visuals: &egui::Visuals) -> Stroke {
        Stroke::new(1.0, self.tokens.border)
    }

    fn resize_stroke(&self, _style: &egui::Style, resize_state: egui_tiles::ResizeState) -> Stroke {
        // Where panes and what is between them have one colour, a line must part them.
        if resize_state == egui_tiles::ResizeState::Idle && self.tokens.background == self.tokens.surface {
            return Stroke::new(1.0, self.tokens.border);
        }
        let color = match resize_state {
            egui_tiles::ResizeState::Idle => self.tokens.background,
            egui_tiles::ResizeState::Hovering => self.tokens.border,
            egui_tiles::ResizeState::Dragging => self.tokens.accent,
        };
        Stroke::new(6.0, color)
    }

    fn simplification_options(&self) -> SimplificationOptions {
        SimplificationOptions {
            // Every pane has a tab, which is its title and its handle.
            all_panes_must_have_tabs: true,
            prune_empty_tabs: true,
            prune_empty_containers: self.is_dock,
            prune_single_child_containers: self.is_dock,
            join_nested_linear_containers: self.is_dock,
            ..SimplificationOptions::OFF
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_the_same_after_it_was_remembered() {
        let layout = Layout::default();
        let text = serde_json::to_string(&layout).unwrap();
        assert!(text.len() < 400, "{}", text.len());
        let read: Layout = serde_json::from_str(&text).unwrap();
        assert_eq!(Dock::from_layout(&read).layout(), Some(layout));
    }

    #[test]
    fn a_layout_that_somebody_broke_gives_every_pane_at_most_once() {
        let twice = Layout::Row(vec![
            (f32::NAN, Layout::Tabs(vec![Pane::Users, Pane::Users], 9)),
            (-1.0, Layout::Tabs(vec![Pane::Users], 0)),
            (0.5, Layout::Column(Vec::new())),
        ]);
        let dock = Dock::from_layout(&twice);
        assert!(dock.is_open(Pane::Users) && !dock.is_open(Pane::Timeline));
        let mut deep = Layout::Tabs(vec![Pane::Faults], 0);
        for _ in 0..100 {
            deep = Layout::Column(vec![(1.0, deep)]);
        }
        assert!(!Dock::from_layout(&deep).is_open(Pane::Faults));
        assert!(serde_json::from_str::<Layout>(r#"{"tabs":[["no pane"],0]}"#).is_err());
    }

    #[test]
    fn panes_close_and_open_again_even_the_last() {
        let mut dock = Dock::default();
        for pane in Pane::ALL {
            assert!(dock.is_open(pane));
            dock.close(pane);
            assert!(!dock.is_open(pane));
        }
        dock.open(Pane::Latency);
        dock.open(Pane::Users);
        assert!(dock.is_open(Pane::Latency) && dock.is_open(Pane::Users));
    }
}
