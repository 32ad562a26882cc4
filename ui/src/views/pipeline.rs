//! The picture of the backend, live: what goes through each part, what waits, what is broken. A selected message
//! lights up the parts it came through.

use std::collections::BTreeMap;

use ackscope_protocol::control::Place;
use ackscope_protocol::faults::Dependency;
use ackscope_protocol::trace::{PermissionSource, Stage, figure};
use egui::accesskit::Role;
use egui::{FontId, Frame, Margin, Popup, Pos2, Rect, RichText, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2, pos2};

use super::{Action, Scene, faults, widgets};
use crate::format::{self, duration, thousands};
use crate::state::{Flow, Lane, Part, Run};
use crate::theme::{RADIUS, Tokens, space, strong_family};

/// The picture is not drawn smaller than this; what does not fit scrolls.
const SIZE_MIN: Vec2 = Vec2::new(540.0, 250.0);
/// Between columns, for the arrows.
const GAP: f32 = 28.0;
/// Shares of the columns: users, socket service, topics, consumer groups, stores. Names of groups are longest.
const COLUMNS: [f32; 5] = [0.165, 0.19, 0.22, 0.255, 0.17];
/// Height of a line in a box.
const LINE: f32 = 16.0;
/// Most partitions drawn one by one.
const PARTITIONS_DRAWN: usize = 12;

/// A part of the picture.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Block {
    Users,
    Socket,
    Cache,
    Media,
    Topic(String),
    Group(String),
    Store,
    Search,
}

impl Block {
    fn title(&self) -> &str {
        match self {
            Self::Users => "Users",
            Self::Socket => "Socket service",
            Self::Cache => "Redis",
            Self::Media => "Media",
            Self::Topic(name) | Self::Group(name) => name,
            Self::Store => "MongoDB",
            Self::Search => "Search",
        }
    }

    fn dependency(&self) -> Option<Dependency> {
        match self {
            Self::Users | Self::Socket => None,
            Self::Cache => Some(Dependency::Redis),
            Self::Media => Some(Dependency::Media),
            Self::Topic(_) => Some(Dependency::Kafka),
            Self::Group(_) => Some(Dependency::Consumers),
            Self::Store => Some(Dependency::Mongodb),
            Self::Search => Some(Dependency::Search),
        }
    }
}

/// Lag of one group on one topic, and depth of one topic: partition → records.
type Partitions = BTreeMap<u32, f64>;

/// Figures of health by what they are about.
#[derive(Debug, Default)]
struct Figures {
    depth: BTreeMap<String, Partitions>,
    /// By group, then by topic.
    lag: BTreeMap<String, BTreeMap<String, Partitions>>,
}

impl Figures {
    fn of(run: &Run) -> Self {
        let mut figures = Self::default();
        for (name, value) in run.health() {
            let Some((kind, rest)) = name.split_once('.') else { continue };
            let Some((rest, partition)) = rest.rsplit_once('.') else { continue };
            let Ok(partition) = partition.parse::<u32>() else { continue };
            match kind {
                figure::DEPTH => {
                    figures.depth.entry(rest.to_owned()).or_default().insert(partition, *value);
                }
                figure::LAG => {
                    // Names of groups have no dots, those of topics do.
                    let Some((group, topic)) = rest.split_once('.') else { continue };
                    let topics = figures.lag.entry(group.to_owned()).or_default();
                    topics.entry(topic.to_owned()).or_default().insert(partition, *value);
                }
                _ => {}
            }
        }
        figures
    }
}

/// What the selected message left behind on its way.
#[derive(Debug, Default)]
struct Way {
    reached: Vec<(Block, String)>,
}

impl Way {
    fn of(lane: &Lane) -> Self {
        let mut reached = vec![(Block::Users, String::new())];
        for stage in &lane.stages {
            let (block, what) = match &stage.stage {
                Stage::Received => (Block::Socket, String::new()),
                Stage::Permission { source: PermissionSource::Cache, .. } => (Block::Cache, String::new()),
                Stage::MediaChecked { .. } => (Block::Media, String::new()),
                Stage::Published { topic, partition, offset } => {
                    (Block::Topic(topic.clone()), format!("{partition}@{offset}"))
                }
                Stage::Consumed { group, partition, offset } => {
                    (Block::Group(group.clone()), format!("{partition}@{offset}"))
                }
                Stage::Permission { source: PermissionSource::Store, .. } | Stage::Persisted { .. } => {
                    (Block::Store, String::new())
                }
                Stage::Indexed => (Block::Search, String::new()),
                _ => continue,
            };
            reached.push((block, what));
        }
        Self { reached }
    }

    fn at(&self, block: &Block) -> Option<&str> {
        self.reached.iter().rev().find(|(other, _)| other == block).map(|(_, what)| what.as_str())
    }
}

/// A box as it is drawn.
struct Drawn {
    block: Block,
    rect: Rect,
    lines: Vec<String>,
    partitions: Partitions,
}

fn rate(events_per_sec: f64) -> String {
    match events_per_sec {
        r if r <= 0.0 => "0/s".to_owned(),
        r if r < 10.0 => format!("{r:.1}/s"),
        r => format!("{}/s", thousands(r.round() as u64)),
    }
}

fn sum(partitions: &Partitions) -> f64 {
    partitions.values().sum()
}

/// Draws the pane.
pub fn ui(ui: &mut Ui, scene: &mut Scene<'_>) {
    let tokens = scene.tokens;
    Frame::new().inner_margin(Margin::symmetric(12, 8)).show(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            let text = match scene.cursor_us {
                Some(cursor_us) => format!("Rates of the 5 s before the time cursor at {}", duration(cursor_us)),
                None => "Rates of the last 5 s".to_owned(),
            };
            ui.label(widgets::small(tokens, text));
            if scene.cursor_us.is_some() && ui.add(widgets::quiet_button(tokens, "Back to now")).clicked() {
                scene.ask(Action::Cursor(None));
            }
            if let Some(lane) = scene.selected.and_then(|message_id| scene.run.lane_of(message_id)) {
                let text = lane.text.as_deref().unwrap_or("a message without text");
                let text = format!("The way of “{}” is lit", format::one_line(text, 40));
                ui.label(RichText::new(text).small().color(tokens.accent));
            } else {
                ui.label(widgets::small(tokens, "Click a part to break it or to look inside"));
            }
        });
        ScrollArea::both().id_salt("pipeline").auto_shrink(false).show(ui, |ui| {
            let size = ui.available_size().max(SIZE_MIN);
            let (area, _) = ui.allocate_exact_size(size, Sense::hover());
            picture_ui(ui, scene, area);
        });
    });
    if scene.cursor_us.is_none() && scene.run.counts().events > 0 {
        // Rates fall while nothing happens.
        ui.request_repaint_after_secs(0.5);
    }
}

fn picture_ui(ui: &mut Ui, scene: &mut Scene<'_>, area: Rect) {
    let tokens = scene.tokens;
    let at_us = scene.cursor_us.unwrap_or(scene.now_us);
    let flow = scene.run.flow();
    let figures = Figures::of(scene.run);
    let way = scene.selected.and_then(|message_id| scene.run.lane_of(message_id)).map(Way::of);
    let blocks = blocks(scene.run, &figures, area, at_us);
    arrows_ui(ui, tokens, &blocks, flow, at_us);
    for drawn in blocks {
        block_ui(ui, scene, &drawn, way.as_ref());
    }
}

fn blocks(run: &Run, figures: &Figures, area: Rect, at_us: u64) -> Vec<Drawn> {
    let flow = run.flow();
    let per_sec = |part: Part<'_>| rate(flow.rate(part, at_us));
    let room = area.width() - GAP * (COLUMNS.len() - 1) as f32;
    let at = |index: usize, y: f32, lines: f32| {
        let before: f32 = COLUMNS.iter().take(index).map(|share| share * room + GAP).sum();
        let width = COLUMNS.get(index).copied().unwrap_or_default() * room;
        Rect::from_min_size(pos2(area.left() + before, area.top() + y), Vec2::new(width, 26.0 + lines * LINE))
    };
    let figure_of = |name: &str| run.figure(name).map(|value| thousands(value as u64));
    let mut drawn = Vec::new();
    let mut push = |block: Block, rect: Rect, lines: Vec<String>, partitions: Partitions| {
        drawn.push(Drawn { block, rect, lines, partitions });
    };
    let third = area.height() / 3.0;

    let connected = run.users().iter().filter(|user| user.is_connected()).count();
    push(
        Block::Users,
        at(0, third + 4.0, 2.0),
        vec![format!("{connected} of {} connected", run.users().len()), format!("send {}", per_sec(Part::Sent))],
        Partitions::new(),
    );
    let mut lines = vec![format!("receives {}", per_sec(Part::Received))];
    lines.push(format!("confirms {}", per_sec(Part::Confirmed)));
    if let Some(connections) = figure_of(figure::CONNECTIONS) {
        lines.push(format!("{connections} connections"));
    }
    if let Some(unpersisted) = figure_of(figure::UNPERSISTED) {
        lines.push(format!("{unpersisted} not persisted"));
    }
    push(Block::Socket, at(1, third + 4.0, 4.0), lines, Partitions::new());
    let mut lines = vec![format!("answers {}", per_sec(Part::FromCache))];
    if let (Some(hits), Some(misses)) = (run.figure(figure::CACHE_HITS), run.figure(figure::CACHE_MISSES))
        && hits + misses > 0.0
    {
        lines.push(format!("{:.1} % hits", hits / (hits + misses) * 100.0));
    }
    push(Block::Cache, at(1, 4.0, 2.0), lines, Partitions::new());
    let breaker = |name: &str| {
        run.figure(&format!("{}.{name}", figure::BREAKER)).map(|value| {
            let state = match value as u32 {
                0 => "closed",
                1 => "half open",
                _ => "open",
            };
            format!("breaker {state}")
        })
    };
    let mut lines = vec![format!("checks {}", per_sec(Part::MediaChecked))];
    lines.extend(breaker("media"));
    push(Block::Media, at(1, third * 2.0 + 24.0, 2.0), lines, Partitions::new());

    let mut topics: Vec<&str> = flow.topics().iter().map(|topic| &**topic).collect();
    topics
        .extend(figures.depth.keys().map(String::as_str).filter(|topic| !flow.topics().iter().any(|t| **t == **topic)));
    let height = (area.height() / topics.len().max(1) as f32).clamp(56.0, 74.0);
    for (index, topic) in topics.iter().enumerate() {
        let depth = figures.depth.get(*topic).cloned().unwrap_or_default();
        let mut line = per_sec(Part::Published(topic));
        if !depth.is_empty() {
            line = format!("{line}, {} deep", thousands(sum(&depth) as u64));
        }
        let rect = at(2, 4.0 + index as f32 * height, 1.6);
        push(Block::Topic((*topic).to_owned()), rect, vec![line], depth);
    }
    let mut groups: Vec<&str> = flow.groups().iter().map(|group| &**group).collect();
    groups.extend(figures.lag.keys().map(String::as_str).filter(|group| !flow.groups().iter().any(|g| **g == **group)));
    let height = (area.height() / groups.len().max(1) as f32).clamp(56.0, 74.0);
    for (index, group) in groups.iter().enumerate() {
        let mut lag = Partitions::new();
        for topic in figures.lag.get(*group).into_iter().flat_map(BTreeMap::values) {
            for (partition, value) in topic {
                *lag.entry(*partition).or_default() += value;
            }
        }
        let mut line = per_sec(Part::Consumed(group));
        if !lag.is_empty() {
            line = format!("{line}, lag {}", thousands(sum(&lag) as u64));
        }
        let rect = at(3, 4.0 + index as f32 * height, 1.6);
        push(Block::Group((*group).to_owned()), rect, vec![line], lag);
    }
    let lines =
        vec![format!("writes {}", per_sec(Part::Persisted)), format!("permissions {}", per_sec(Part::FromStore))];
    push(Block::Store, at(4, third * 0.5 + 4.0, 2.0), lines, Partitions::new());
    let mut lines = vec![format!("indexes {}", per_sec(Part::Indexed))];
    lines.extend(breaker("search"));
    push(Block::Search, at(4, third * 1.5 + 24.0, 2.0), lines, Partitions::new());
    drawn
}

fn arrows_ui(ui: &Ui, tokens: &Tokens, blocks: &[Drawn], flow: &Flow, at_us: u64) {
    let rect_of = |block: &Block| blocks.iter().find(|drawn| drawn.block == *block).map(|drawn| drawn.rect);
    let painter = ui.painter().with_clip_rect(ui.clip_rect());
    let arrow = |from: Pos2, to: Pos2, per_sec: f64| {
        let is_moving = per_sec > 0.0;
        let color = if is_moving { tokens.delivered } else { tokens.budget.gamma_multiply(0.7) };
        painter.line_segment([from, to], Stroke::new(if is_moving { 2.0 } else { 1.0 }, color));
        let along = (to - from).normalized() * 7.0;
        let across = along.rot90() * 0.5;
        let tip = vec![to, to - along + across, to - along - across];
        painter.add(egui::Shape::convex_polygon(tip, color, Stroke::NONE));
    };
    let side = |from: Rect, to: Rect| (from.right_center(), to.left_center());
    let (Some(users), Some(socket)) = (rect_of(&Block::Users), rect_of(&Block::Socket)) else { return };
    let (from, to) = side(users, socket);
    arrow(from, to, flow.rate(Part::Sent, at_us));
    if let Some(cache) = rect_of(&Block::Cache) {
        arrow(socket.center_top(), cache.center_bottom(), flow.rate(Part::FromCache, at_us));
    }
    if let Some(media) = rect_of(&Block::Media) {
        arrow(socket.center_bottom(), media.center_top(), flow.rate(Part::MediaChecked, at_us));
    }
    for drawn in blocks {
        match &drawn.block {
            Block::Topic(topic) => {
                let (from, to) = side(socket, drawn.rect);
                arrow(from, to, flow.rate(Part::Published(topic), at_us));
            }
            Block::Group(group) => {
                let per_sec = flow.rate(Part::Consumed(group), at_us);
                let from = pos2(drawn.rect.left() - GAP, drawn.rect.center().y);
                arrow(from, drawn.rect.left_center(), per_sec);
                let to = if group.starts_with("search") { Block::Search } else { Block::Store };
                if let Some(to) = rect_of(&to).filter(|_| !group.starts_with("media")) {
                    arrow(drawn.rect.right_center(), to.left_center(), per_sec);
                }
            }
            _ => {}
        }
    }
}

fn block_ui(ui: &mut Ui, scene: &mut Scene<'_>, drawn: &Drawn, way: Option<&Way>) {
    let tokens = scene.tokens;
    let Drawn { block, rect, lines, partitions } = drawn;
    let rect = *rect;
    let id = ui.scope_id().with(("block", block.title()));
    // What is scrolled out of view is not there to be clicked.
    let seen = rect.intersect(ui.clip_rect());
    if !seen.is_positive() {
        return;
    }
    let response = ui.interact(seen, id, Sense::click());
    let fault = block.dependency().and_then(|on| scene.run.faults().find(|fault| fault.target == on.as_str()));
    let reached = way.and_then(|way| way.at(block));
    let mut said = format!("{}, {}", block.title(), lines.join(", "));
    if let Some(fault) = fault {
        said.push_str(", broken: ");
        said.push_str(&fault.kind);
    }
    if reached.is_some() {
        said.push_str(", on the way of the selected message");
    }
    widgets::name(&response, Role::Button, &said);
    let painter = ui.painter();
    let fill = if response.hovered() { tokens.hovered } else { tokens.raised };
    painter.rect_filled(rect, RADIUS, if reached.is_some() { tokens.accent_soft } else { fill });
    let stroke = match (fault.is_some(), reached.is_some() || response.has_focus()) {
        (true, _) => Stroke::new(2.0, tokens.rejected),
        (false, true) => Stroke::new(2.0, tokens.accent),
        (false, false) => Stroke::new(1.0, tokens.border),
    };
    painter.rect_stroke(rect, RADIUS, stroke, StrokeKind::Inside);
    let inner = rect.shrink2(Vec2::new(8.0, 3.0));
    let line_at = |index: usize| {
        Rect::from_min_size(inner.min + Vec2::new(0.0, 19.0 + index as f32 * LINE), Vec2::new(inner.width(), LINE))
    };
    let title = Rect::from_min_size(inner.min, Vec2::new(inner.width(), 18.0));
    widgets::line_in(ui, title, block.title(), FontId::new(13.0, strong_family()), tokens.text);
    for (index, line) in lines.iter().enumerate() {
        widgets::line_in(ui, line_at(index), line, FontId::proportional(12.0), tokens.text_weak);
    }
    if let Some(fault) = fault {
        let place = Rect::from_min_size(rect.left_bottom() + Vec2::new(4.0, 0.0), Vec2::new(rect.width(), 14.0));
        widgets::line_in(ui, place, &fault.kind, FontId::proportional(11.0), tokens.rejected);
    }
    // One bar for each partition: where it waits.
    let highest = partitions.values().copied().fold(1.0, f64::max);
    for (index, (_, value)) in partitions.iter().take(PARTITIONS_DRAWN).enumerate() {
        let height = (value / highest * 8.0) as f32;
        let x = inner.left() + index as f32 * 6.0;
        let bar =
            Rect::from_min_max(pos2(x, rect.bottom() - 4.0 - height.max(1.0)), pos2(x + 4.0, rect.bottom() - 4.0));
        let color = if matches!(block, Block::Group(_)) { tokens.warning } else { tokens.delivered };
        ui.painter().rect_filled(bar, 0.0, color);
    }
    menu_ui(scene, drawn, &response);
    response.on_hover_ui(|ui| {
        ui.label(RichText::new(block.title()).strong());
        for line in lines {
            ui.label(line);
        }
        if let Some(reached) = reached.filter(|reached| !reached.is_empty()) {
            ui.label(format!("The selected message: partition and offset {reached}"));
        }
        let what = if matches!(block, Block::Group(_)) { "behind" } else { "records" };
        for (partition, value) in partitions {
            ui.label(widgets::small(tokens, format!("partition {partition}: {} {what}", thousands(*value as u64))));
        }
        ui.label(widgets::small(tokens, "Click to break it or to look inside"));
    });
}

fn menu_ui(scene: &mut Scene<'_>, drawn: &Drawn, response: &egui::Response) {
    let (selected_id, tokens) = (scene.selected, scene.tokens);
    let selected = selected_id.and_then(|message_id| scene.run.lane_of(message_id));
    Popup::menu(response).show(|ui| {
        ui.set_min_width(180.0);
        if let Some(on) = drawn.block.dependency() {
            if ui.button(format!("Break {}…", faults::name(on))).clicked() {
                scene.ask(Action::ShowFaults(on));
            }
            if scene.run.faults().any(|fault| fault.target == on.as_str())
                && ui.button(format!("Heal {}", faults::name(on))).clicked()
            {
                scene.command(ackscope_protocol::control::Command::Heal { on });
            }
        }
        let mut look = |ui: &mut Ui, text: String, place: Place| {
            if ui.button(text).clicked() {
                scene.ask(Action::Inspect(place));
            }
        };
        match &drawn.block {
            Block::Cache => look(ui, "Look at cache entries".to_owned(), Place::Cache),
            Block::Store => {
                look(ui, "Look at conversations".to_owned(), Place::Conversations { user: None });
                if let Some(conversation_id) = selected.and_then(|lane| lane.conversation_id) {
                    let place = Place::Messages { conversation_id, before_seq: None };
                    look(ui, "Look at messages of this conversation".to_owned(), place);
                }
            }
            Block::Search => look(ui, "Look at index entries".to_owned(), Place::Index { after: None }),
            Block::Topic(topic) => {
                // Where the selected message lies, else the first partition.
                let at = selected.and_then(|lane| {
                    lane.stages.iter().find_map(|stage| match &stage.stage {
                        Stage::Published { topic: its, partition, offset } if its == topic => {
                            Some((*partition, Some(*offset)))
                        }
                        _ => None,
                    })
                });
                let (partition, from_offset) = at.unwrap_or((0, None));
                let place = Place::Records { topic: topic.clone(), partition, from_offset };
                look(ui, format!("Look at records of {topic}"), place);
            }
            Block::Group(_) => {
                let place = Place::Records { topic: "message.sent".to_owned(), partition: 0, from_offset: None };
                look(ui, "Look at records of message.sent".to_owned(), place);
            }
            Block::Users => {
                if ui.button("Add user…").clicked() {
                    scene.ask(Action::AddUser);
                }
            }
            Block::Socket | Block::Media => {
                if let Some(message_id) = selected_id {
                    look(ui, "Look at the selected message".to_owned(), Place::Message { message_id });
                } else {
                    ui.label(widgets::small(tokens, "Select a message to look at it"));
                }
            }
        }
        ui.add_space(space::XS);
    });
}
