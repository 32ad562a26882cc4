//! Colours, sizes and distances. **Invariant:** no colour is written anywhere else.

use std::collections::BTreeMap;
use std::sync::Arc;

use egui::{
    Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Shadow, Stroke, Style, TextStyle, Theme,
    Vec2, Visuals,
};

use crate::state::{Progress, SpanKind};

/// Distances in points. Everything stands on these steps.
pub mod space {
    /// Between things that are one.
    pub const XS: f32 = 4.0;
    /// Between neighbours.
    pub const S: f32 = 8.0;
    /// Around the content of a pane.
    pub const M: f32 = 12.0;
    /// Between groups.
    pub const L: f32 = 16.0;
    /// Around what stands alone.
    pub const XL: f32 = 24.0;
}

/// Radius of bubbles, chips and buttons.
pub const RADIUS: CornerRadius = CornerRadius::same(6);
/// Radius of bars and marks on the timeline.
pub const RADIUS_BAR: CornerRadius = CornerRadius::same(2);
/// Height of a lane.
pub const LANE_HEIGHT: f32 = 26.0;
/// Height of a lane's bar.
pub const BAR_HEIGHT: f32 = 10.0;
/// Nothing that happened may be narrower than this.
pub const MARK_WIDTH_MIN: f32 = 2.0;

/// The colours of one theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Behind everything.
    pub background: Color32,
    /// Of a pane.
    pub surface: Color32,
    /// Of what lies on a pane: fields, other people's bubbles.
    pub raised: Color32,
    /// Under the pointer.
    pub hovered: Color32,
    /// Between areas.
    pub border: Color32,
    /// To be read.
    pub text: Color32,
    /// To be read second.
    pub text_weak: Color32,
    /// What can be done next, and what is selected.
    pub accent: Color32,
    /// On `accent`.
    pub on_accent: Color32,
    /// Behind what is selected, and of own bubbles.
    pub accent_soft: Color32,
    /// Sent, nothing heard yet.
    pub in_flight: Color32,
    /// `pending`.
    pub pending: Color32,
    /// `delivered`.
    pub delivered: Color32,
    /// `rejected`, errors.
    pub rejected: Color32,
    /// `persisted`, connected.
    pub persisted: Color32,
    /// Over a budget.
    pub breach: Color32,
    /// A recipient saw it.
    pub receipt: Color32,
    /// Budget lines.
    pub budget: Color32,
    /// Something is missing or does not go on by itself.
    pub warning: Color32,
    /// Over everything behind a dialog.
    pub backdrop: Color32,
}

const fn rgb(hex: u32) -> Color32 {
    let [_, r, g, b] = hex.to_be_bytes();
    Color32::from_rgb(r, g, b)
}

const DARK: Tokens = Tokens {
    background: rgb(0x0F_1216),
    surface: rgb(0x17_1B21),
    raised: rgb(0x22_2831),
    hovered: rgb(0x2B_323D),
    border: rgb(0x2A_313B),
    text: rgb(0xE7_EAEF),
    text_weak: rgb(0x9A_A4B2),
    accent: rgb(0x5B_9DF5),
    on_accent: rgb(0x08_111F),
    accent_soft: rgb(0x1D_3150),
    in_flight: rgb(0x5C_6675),
    pending: rgb(0xE3_AE42),
    delivered: rgb(0x4E_9CF0),
    rejected: rgb(0xEF_6B66),
    persisted: rgb(0x47_BD80),
    breach: rgb(0xF0_62C0),
    receipt: rgb(0xB9_A2F7),
    budget: rgb(0x6C_7788),
    warning: rgb(0xE3_AE42),
    backdrop: Color32::from_black_alpha(140),
};

const LIGHT: Tokens = Tokens {
    background: rgb(0xEE_F0F3),
    surface: rgb(0xFF_FFFF),
    raised: rgb(0xF0_F2F5),
    hovered: rgb(0xE4_E8EE),
    border: rgb(0xD8_DDE4),
    text: rgb(0x18_2029),
    text_weak: rgb(0x57_6270),
    accent: rgb(0x1B_66D6),
    on_accent: rgb(0xFF_FFFF),
    accent_soft: rgb(0xDC_E9FC),
    in_flight: rgb(0xA4_AEBB),
    pending: rgb(0xC9_8A0C),
    delivered: rgb(0x2F_7FE0),
    rejected: rgb(0xC7_3733),
    persisted: rgb(0x1E_9257),
    breach: rgb(0xB4_1E8E),
    receipt: rgb(0x75_4FD0),
    budget: rgb(0x94_9EAB),
    warning: rgb(0x99_6400),
    backdrop: Color32::from_black_alpha(90),
};

/// For eyes that need it: black and white, and colours that keep at least 7:1 on black.
const CONTRAST: Tokens = Tokens {
    background: rgb(0x00_0000),
    surface: rgb(0x00_0000),
    raised: rgb(0x1A_1A1A),
    hovered: rgb(0x33_3333),
    border: rgb(0xFF_FFFF),
    text: rgb(0xFF_FFFF),
    text_weak: rgb(0xE0_E0E0),
    accent: rgb(0x6F_D0FF),
    on_accent: rgb(0x00_0000),
    accent_soft: rgb(0x00_3A5C),
    in_flight: rgb(0xB0_B0B0),
    pending: rgb(0xFF_D23F),
    delivered: rgb(0x6F_C3FF),
    rejected: rgb(0xFF_8A80),
    persisted: rgb(0x5C_F29A),
    breach: rgb(0xFF_8AE2),
    receipt: rgb(0xD6_C4FF),
    budget: rgb(0xFF_FFFF),
    warning: rgb(0xFF_D23F),
    backdrop: Color32::from_black_alpha(200),
};

/// How the app looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// As the system says.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
    /// White on black, for eyes that need it.
    Contrast,
}

impl Look {
    /// All of them, in the order they are offered.
    pub const ALL: [Self; 4] = [Self::System, Self::Light, Self::Dark, Self::Contrast];

    /// Its name.
    pub fn title(self) -> &'static str {
        match self {
            Self::System => "As the system",
            Self::Light => "Light",
            Self::Dark => "Dark",
            Self::Contrast => "High contrast",
        }
    }

    /// Makes a context look like this.
    pub fn apply(self, ctx: &egui::Context) {
        let dark = if self == Self::Contrast { &CONTRAST } else { &DARK };
        ctx.set_visuals_of(Theme::Dark, dark.visuals(Theme::Dark));
        ctx.set_theme(match self {
            Self::System => egui::ThemePreference::System,
            Self::Light => egui::ThemePreference::Light,
            Self::Dark | Self::Contrast => egui::ThemePreference::Dark,
        });
    }
}

impl Tokens {
    /// Of the theme that is shown.
    pub fn of(visuals: &Visuals) -> &'static Self {
        match visuals.dark_mode {
            false => &LIGHT,
            true if visuals.panel_fill == CONTRAST.surface => &CONTRAST,
            true => &DARK,
        }
    }

    /// Of a state.
    pub fn progress(&self, progress: Progress) -> Color32 {
        match progress {
            Progress::Sending => self.in_flight,
            Progress::Pending => self.pending,
            Progress::Delivered => self.delivered,
            Progress::Rejected => self.rejected,
            Progress::Persisted => self.persisted,
        }
    }

    /// Of a piece of a lane's bar.
    pub fn span(&self, kind: SpanKind) -> Color32 {
        match kind {
            SpanKind::InFlight => self.in_flight,
            SpanKind::Pending => self.pending,
            SpanKind::Delivered => self.delivered,
            SpanKind::Rejected => self.rejected,
        }
    }

    fn visuals(&self, theme: Theme) -> Visuals {
        let mut visuals = match theme {
            Theme::Dark => Visuals::dark(),
            Theme::Light => Visuals::light(),
        };
        let line = |color| Stroke::new(1.0, color);
        visuals.weak_text_color = Some(self.text_weak);
        visuals.hyperlink_color = self.accent;
        visuals.faint_bg_color = self.raised;
        visuals.extreme_bg_color = self.raised;
        visuals.text_edit_bg_color = Some(self.raised);
        visuals.code_bg_color = self.raised;
        visuals.warn_fg_color = self.warning;
        visuals.error_fg_color = self.rejected;
        visuals.window_fill = self.surface;
        visuals.window_stroke = line(self.border);
        visuals.window_corner_radius = CornerRadius::same(10);
        visuals.menu_corner_radius = CornerRadius::same(8);
        visuals.panel_fill = self.surface;
        visuals.window_shadow = Shadow { offset: [0, 8], blur: 24, spread: 0, color: Color32::from_black_alpha(70) };
        visuals.popup_shadow = Shadow { offset: [0, 4], blur: 12, spread: 0, color: Color32::from_black_alpha(50) };
        visuals.selection.bg_fill = self.accent_soft;
        visuals.selection.stroke = line(self.accent);
        visuals.text_cursor.stroke = Stroke::new(2.0, self.accent);

        let widgets = &mut visuals.widgets;
        for (state, fill, text, stroke) in [
            (&mut widgets.noninteractive, self.surface, self.text, self.border),
            (&mut widgets.inactive, self.raised, self.text, self.border),
            (&mut widgets.hovered, self.hovered, self.text, self.budget),
            (&mut widgets.active, self.accent_soft, self.text, self.accent),
            (&mut widgets.open, self.hovered, self.text, self.border),
        ] {
            state.bg_fill = fill;
            state.weak_bg_fill = fill;
            state.bg_stroke = line(stroke);
            state.fg_stroke = line(text);
            state.corner_radius = RADIUS;
            state.expansion = 0.0;
        }
        visuals
    }
}

/// The family for what stands out: titles, names.
pub fn strong_family() -> FontFamily {
    FontFamily::Name("strong".into())
}

/// Our own fonts, reduced to Latin, Greek and Cyrillic: a third of the size of the usual ones. What they lack
/// comes from the system: a browser draws any character, and natively eframe looks for a font.
fn fonts() -> FontDefinitions {
    let font = |bytes| Arc::new(FontData::from_static(bytes));
    let mut fonts = FontDefinitions::empty();
    fonts.font_data = BTreeMap::from([
        ("regular".to_owned(), font(include_bytes!("../assets/fonts/Inter-Regular.otf"))),
        ("strong".to_owned(), font(include_bytes!("../assets/fonts/Inter-SemiBold.otf"))),
        ("mono".to_owned(), font(include_bytes!("../assets/fonts/Hack-Regular.ttf"))),
    ]);
    fonts.families = BTreeMap::from([
        (FontFamily::Proportional, vec!["regular".to_owned()]),
        (strong_family(), vec!["strong".to_owned(), "regular".to_owned()]),
        (FontFamily::Monospace, vec!["mono".to_owned(), "regular".to_owned()]),
    ]);
    fonts
}

/// Gives both themes of a context our look.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    for theme in [Theme::Dark, Theme::Light] {
        let tokens = match theme {
            Theme::Dark => &DARK,
            Theme::Light => &LIGHT,
        };
        ctx.set_visuals_of(theme, tokens.visuals(theme));
        ctx.style_mut_of(theme, size);
    }
}

fn size(style: &mut Style) {
    let text = |size| FontId::new(size, FontFamily::Proportional);
    style.text_styles = BTreeMap::from([
        (TextStyle::Heading, FontId::new(17.0, strong_family())),
        (TextStyle::Body, text(14.0)),
        (TextStyle::Button, text(13.5)),
        (TextStyle::Small, text(12.0)),
        (TextStyle::Monospace, FontId::new(12.0, FontFamily::Monospace)),
    ]);
    let spacing = &mut style.spacing;
    spacing.item_spacing = Vec2::new(space::S, space::S);
    spacing.button_padding = Vec2::new(10.0, 5.0);
    spacing.interact_size = Vec2::new(32.0, 28.0);
    spacing.menu_margin = egui::Margin::same(6);
    spacing.window_margin = egui::Margin::same(20);
    spacing.combo_width = 120.0;
    spacing.tooltip_width = 360.0;
    style.animation_time = 0.08;
}
