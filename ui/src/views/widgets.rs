//! Small pieces that several views share.

use egui::accesskit::Role;
use egui::{Align2, Button, Color32, FontId, Pos2, Rect, Response, RichText, Sense, TextStyle, Ui, Vec2, WidgetInfo};

use crate::theme::{RADIUS, Tokens, space};

/// The button for what comes next.
pub(super) fn primary_button(tokens: &Tokens, text: &str) -> Button<'static> {
    Button::new(RichText::new(text).color(tokens.on_accent)).fill(tokens.accent).stroke(egui::Stroke::NONE)
}

/// A button that looks like text until the pointer comes.
pub(super) fn quiet_button(tokens: &Tokens, text: &str) -> Button<'static> {
    Button::new(RichText::new(text).color(tokens.text_weak).text_style(TextStyle::Small))
        .frame_when_inactive(false)
        .small()
}

/// A filled circle, such as for a state.
pub(super) fn dot(ui: &mut Ui, color: Color32) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::new(9.0, 14.0), Sense::hover());
    ui.painter().circle_filled(rect.center(), 4.0, color);
    response
}

/// Text to be read second.
pub(super) fn weak(tokens: &Tokens, text: impl Into<String>) -> RichText {
    RichText::new(text).color(tokens.text_weak)
}

/// Small text to be read second.
pub(super) fn small(tokens: &Tokens, text: impl Into<String>) -> RichText {
    weak(tokens, text).text_style(TextStyle::Small)
}

/// A framed word with a dot. Painted by hand, so that it is as high as its text wherever it stands.
pub(super) fn chip(ui: &mut Ui, tokens: &Tokens, color: Color32, text: &str) -> Response {
    let font = TextStyle::Small.resolve(ui.style());
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, tokens.text);
    let size = Vec2::new(galley.size().x + 31.0, 24.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let painter = ui.painter();
    painter.rect_filled(rect, RADIUS, tokens.raised);
    painter.circle_filled(Pos2::new(rect.left() + 13.0, rect.center().y), 4.0, color);
    let pos = Align2::LEFT_CENTER.anchor_size(Pos2::new(rect.left() + 22.0, rect.center().y), galley.size()).min;
    painter.galley(pos, galley, tokens.text);
    name(&response, Role::Label, text);
    response
}

/// One line of text in a rectangle, cut with an ellipsis.
pub(super) fn line_in(ui: &Ui, rect: Rect, text: &str, font: FontId, color: Color32) -> f32 {
    let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), font, color);
    job.wrap = egui::text::TextWrapping::truncate_at_width(rect.width());
    let galley = ui.painter().layout_job(job);
    let width = galley.size().x;
    let pos = Align2::LEFT_CENTER.anchor_size(rect.left_center(), galley.size()).min;
    ui.painter().galley(pos, galley, color);
    width
}

/// A small triangle that points down at `tip`: the mark of a breach.
pub(super) fn breach_mark(painter: &egui::Painter, tip: Pos2, color: Color32) {
    painter.add(egui::Shape::convex_polygon(
        vec![tip, tip + Vec2::new(-4.0, -6.0), tip + Vec2::new(4.0, -6.0)],
        color,
        egui::Stroke::NONE,
    ));
}

/// Something above everything that wants an answer first.
pub(super) fn modal<T>(
    ui: &Ui,
    tokens: &Tokens,
    id: &str,
    add_contents: impl FnOnce(&mut Ui) -> T,
) -> egui::ModalResponse<T> {
    let frame = egui::Frame::window(ui.style()).inner_margin(egui::Margin::same(22));
    egui::Modal::new(egui::Id::unique(id.to_owned()))
        .frame(frame)
        .backdrop_color(tokens.backdrop)
        .show(ui.ctx(), add_contents)
}

/// What to show where nothing is yet: what this is, what to do, and the button that does it.
pub(crate) fn empty_state(ui: &mut Ui, tokens: &Tokens, title: &str, text: &str, add_action: impl FnOnce(&mut Ui)) {
    let height = ui.available_height();
    ui.vertical_centered(|ui| {
        ui.add_space((height * 0.5 - 60.0).max(space::L));
        ui.label(RichText::new(title).text_style(TextStyle::Heading).color(tokens.text));
        ui.add_space(-space::XS);
        ui.label(weak(tokens, text));
        ui.add_space(space::S);
        add_action(ui);
    });
}

/// Gives a painted thing a name for screen readers and tests.
pub(super) fn name(response: &Response, role: Role, text: &str) {
    let enabled = response.enabled();
    response.widget_info(|| WidgetInfo::labeled(role, enabled, text));
}
