//! Draws what egui tessellated without a graphics card, so that a picture is the same on every machine.
//!
//! It does what egui's own painters ask of a card: triangles with a colour and a place in a texture at each corner,
//! the texture between its four nearest texels, everything multiplied with premultiplied alpha as the bytes stand
//! (egui mixes colours in gamma space, which its text is made for).

use std::collections::HashMap;

use egui::epaint::{ClippedPrimitive, ImageData, ImageDelta, Primitive, Vertex};
use egui::{Color32, TextureId, TexturesDelta};
use egui_kittest::TestRenderer;
use image::RgbaImage;

/// Corners are placed on a grid this fine within a pixel, as graphics cards do; so no pixel on an edge that two
/// triangles share is drawn twice or not at all.
const SUBPIXELS: f32 = 256.0;

#[derive(Default)]
struct Texture {
    width: usize,
    height: usize,
    texels: Vec<Color32>,
}

impl Texture {
    fn apply(&mut self, delta: &ImageDelta) {
        let ImageData::Color(image) = &delta.image;
        let [width, height] = image.size;
        let Some([left, top]) = delta.pos else {
            *self = Self { width, height, texels: image.pixels.clone() };
            return;
        };
        for row in 0..height {
            let from = (top + row) * self.width + left;
            self.texels[from..from + width].copy_from_slice(&image.pixels[row * width..(row + 1) * width]);
        }
    }

    fn texel(&self, x: i32, y: i32) -> [f32; 4] {
        let x = x.clamp(0, self.width as i32 - 1) as usize;
        let y = y.clamp(0, self.height as i32 - 1) as usize;
        self.texels[y * self.width + x].to_array().map(f32::from)
    }

    /// The colour between the four nearest texels, from 0 to 255.
    fn sample(&self, u: f32, v: f32) -> [f32; 4] {
        let (x, y) = (u * self.width as f32 - 0.5, v * self.height as f32 - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let (right_share, bottom_share) = (x - left, y - top);
        let (left, top) = (left as i32, top as i32);
        let corners = [
            (self.texel(left, top), (1.0 - right_share) * (1.0 - bottom_share)),
            (self.texel(left + 1, top), right_share * (1.0 - bottom_share)),
            (self.texel(left, top + 1), (1.0 - right_share) * bottom_share),
            (self.texel(left + 1, top + 1), right_share * bottom_share),
        ];
        let mut sum = [0.0; 4];
        for (texel, share) in corners {
            for (sum, value) in sum.iter_mut().zip(texel) {
                *sum += value * share;
            }
        }
        sum
    }
}

/// The renderer for [`egui_kittest::Harness`].
#[derive(Default)]
pub(crate) struct Painter {
    textures: HashMap<TextureId, Texture>,
}

impl TestRenderer for Painter {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        for (id, images) in delta.set.drain() {
            for image in images {
                self.textures.entry(id).or_default().apply(&image);
            }
        }
        // What was freed is still in the picture that is drawn next, and there is memory enough for a test.
        delta.clear();
    }

    fn render(&mut self, ctx: &egui::Context, output: &egui::FullOutput) -> Result<RgbaImage, String> {
        let scale = output.pixels_per_point;
        let size = ctx.content_rect().size() * scale;
        let mut canvas = Canvas::new(size.x.round() as usize, size.y.round() as usize);
        for ClippedPrimitive { clip_rect, primitive } in ctx.tessellate(output.shapes.clone(), scale) {
            let Primitive::Mesh(mesh) = primitive else {
                return Err("something is drawn by a callback, which needs a graphics card".to_owned());
            };
            let texture = self.textures.get(&mesh.texture_id).ok_or("a texture was never given")?;
            let clip = Clip {
                left: (clip_rect.min.x * scale).round().max(0.0) as usize,
                top: (clip_rect.min.y * scale).round().max(0.0) as usize,
                right: ((clip_rect.max.x * scale).round().max(0.0) as usize).min(canvas.width),
                bottom: ((clip_rect.max.y * scale).round().max(0.0) as usize).min(canvas.height),
            };
            for corners in mesh.indices.chunks_exact(3) {
                let corner = |index: usize| mesh.vertices[corners[index] as usize];
                canvas.triangle([corner(0), corner(1), corner(2)], scale, &clip, texture);
            }
        }
        canvas.into_image()
    }
}

struct Clip {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

/// A corner on the fine grid.
#[derive(Clone, Copy)]
struct Corner {
    x: i64,
    y: i64,
    u: f32,
    v: f32,
    color: [f32; 4],
}

impl Corner {
    fn new(vertex: Vertex, scale: f32) -> Self {
        Self {
            x: (vertex.pos.x * scale * SUBPIXELS).round() as i64,
            y: (vertex.pos.y * scale * SUBPIXELS).round() as i64,
            u: vertex.uv.x,
            v: vertex.uv.y,
            color: vertex.color.to_array().map(f32::from),
        }
    }

    /// Twice the area of the triangle with the edge from here to `to` and a point; positive on its inner side.
    fn edge(self, to: Self, x: i64, y: i64) -> i64 {
        (to.x - self.x) * (y - self.y) - (to.y - self.y) * (x - self.x)
    }

    /// Whether pixels that lie on the edge from here to `to` belong to its triangle: of two neighbours one has them.
    fn owns_edge(self, to: Self) -> bool {
        to.y < self.y || to.y == self.y && to.x > self.x
    }
}

fn tint(color: [f32; 4], texel: [f32; 4]) -> [f32; 4] {
    let [r, g, b, a] = color;
    [r * texel[0] / 255.0, g * texel[1] / 255.0, b * texel[2] / 255.0, a * texel[3] / 255.0]
}

fn blend(pixel: &mut [f32; 4], color: [f32; 4]) {
    if color[3] >= 255.0 {
        *pixel = color;
        return;
    }
    let behind = 1.0 - color[3] / 255.0;
    let [r, g, b, a] = *pixel;
    *pixel = [color[0] + r * behind, color[1] + g * behind, color[2] + b * behind, color[3] + a * behind];
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[f32; 4]>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[0.0, 0.0, 0.0, 255.0]; width * height] }
    }

    fn triangle(&mut self, vertices: [Vertex; 3], scale: f32, clip: &Clip, texture: &Texture) {
        let [a, mut b, mut c] = vertices.map(|vertex| Corner::new(vertex, scale));
        let area = a.edge(b, c.x, c.y);
        if area == 0 {
            return;
        }
        if area < 0 {
            std::mem::swap(&mut b, &mut c);
        }
        let area = area.unsigned_abs() as f32;
        let grid = SUBPIXELS as i64;
        let (low_x, high_x) = (a.x.min(b.x).min(c.x), a.x.max(b.x).max(c.x));
        let (low_y, high_y) = (a.y.min(b.y).min(c.y), a.y.max(b.y).max(c.y));
        let first = |low: i64, edge: usize| low.div_euclid(grid).max(edge as i64);
        let last = |high: i64, edge: usize| (high.div_euclid(grid) + 1).min(edge as i64);
        let edges = [(b, c), (c, a), (a, b)];
        // A pixel on an edge of the neighbour's is one too little.
        let least = edges.map(|(from, to)| i64::from(!from.owns_edge(to)));
        let step = edges.map(|(from, to)| (from.y - to.y) * grid);
        let is_uniform = (a.u, a.v) == (b.u, b.v) && (a.u, a.v) == (c.u, c.v);
        let texel = is_uniform.then(|| texture.sample(a.u, a.v));
        let flat = texel.filter(|_| a.color == b.color && a.color == c.color).map(|texel| tint(a.color, texel));
        let (from_x, to_x) = (first(low_x, clip.left), last(high_x, clip.right));
        for y in first(low_y, clip.top)..last(high_y, clip.bottom) {
            let (middle_x, middle_y) = (from_x * grid + grid / 2, y * grid + grid / 2);
            let mut weights = edges.map(|(from, to)| from.edge(to, middle_x, middle_y));
            let row = y as usize * self.width;
            let mut was_inside = false;
            for x in from_x..to_x {
                let [wa, wb, wc] = weights;
                weights = [wa + step[0], wb + step[1], wc + step[2]];
                if wa < least[0] || wb < least[1] || wc < least[2] {
                    if was_inside {
                        break;
                    }
                    continue;
                }
                was_inside = true;
                let color = flat.unwrap_or_else(|| {
                    let (wa, wb, wc) = (wa as f32 / area, wb as f32 / area, wc as f32 / area);
                    let mix = |a: f32, b: f32, c: f32| a * wa + b * wb + c * wc;
                    let texel = texel.unwrap_or_else(|| texture.sample(mix(a.u, b.u, c.u), mix(a.v, b.v, c.v)));
                    tint(std::array::from_fn(|part| mix(a.color[part], b.color[part], c.color[part])), texel)
                });
                blend(&mut self.pixels[row + x as usize], color);
            }
        }
    }

    fn into_image(self) -> Result<RgbaImage, String> {
        let bytes = self.pixels.iter().flat_map(|pixel| pixel.map(|value| value.round().clamp(0.0, 255.0) as u8));
        RgbaImage::from_raw(self.width as u32, self.height as u32, bytes.collect())
            .ok_or_else(|| "the picture has another size than its bytes".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(x: f32, y: f32, color: Color32) -> Vertex {
        Vertex { pos: egui::pos2(x, y), uv: egui::epaint::WHITE_UV, color }
    }

    fn white() -> Texture {
        Texture { width: 1, height: 1, texels: vec![Color32::WHITE] }
    }

    /// Two triangles that make a square, of a colour that would show where it lies on itself.
    #[test]
    fn no_pixel_of_a_square_is_drawn_twice_or_left_out() {
        let half = Color32::from_rgba_premultiplied(100, 100, 100, 128);
        for (left, right) in [(1.0, 7.0), (1.3, 6.6), (2.5, 5.5)] {
            let mut canvas = Canvas::new(8, 8);
            let corners = [(left, left), (right, left), (right, right), (left, right)].map(|(x, y)| vertex(x, y, half));
            let clip = Clip { left: 0, top: 0, right: 8, bottom: 8 };
            canvas.triangle([corners[0], corners[1], corners[2]], 1.0, &clip, &white());
            canvas.triangle([corners[0], corners[2], corners[3]], 1.0, &clip, &white());
            let image = canvas.into_image().unwrap();
            for (x, y, pixel) in image.enumerate_pixels() {
                let is_in = |at: u32| (left..right).contains(&(at as f32 + 0.5));
                let expected = if is_in(x) && is_in(y) { 100 } else { 0 };
                assert_eq!(pixel.0, [expected, expected, expected, 255], "{x} {y} of {left} to {right}");
            }
        }
    }

    #[test]
    fn colours_run_from_corner_to_corner_and_stay_in_their_clip() {
        let mut canvas = Canvas::new(10, 2);
        let clip = Clip { left: 0, top: 0, right: 5, bottom: 2 };
        let (black, white_color) = (Color32::BLACK, Color32::WHITE);
        let corners = [vertex(0.0, 0.0, black), vertex(10.0, 0.0, white_color), vertex(0.0, 20.0, black)];
        canvas.triangle(corners, 1.0, &clip, &white());
        let image = canvas.into_image().unwrap();
        let reds: Vec<u8> = (0..10).map(|x| image.get_pixel(x, 0).0[0]).collect();
        assert_eq!(reds, [13, 38, 64, 89, 115, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_texture_is_mixed_between_its_texels_and_changed_in_parts() {
        let mut texture = Texture::default();
        let image =
            |size: [usize; 2], pixels: &[Color32]| ImageData::from(egui::ColorImage::new(size, pixels.to_vec()));
        let whole = image([2, 1], &[Color32::BLACK, Color32::WHITE]);
        texture.apply(&ImageDelta::full(whole, egui::TextureOptions::LINEAR));
        assert_eq!(texture.sample(0.25, 0.5)[0], 0.0);
        assert_eq!(texture.sample(0.5, 0.5)[0], 127.5);
        assert_eq!(texture.sample(1.0, 0.5)[0], 255.0, "the edge goes on");
        let part = image([1, 1], &[Color32::RED]);
        texture.apply(&ImageDelta::partial([1, 0], part, egui::TextureOptions::LINEAR));
        assert_eq!(texture.sample(0.75, 0.5), [255.0, 0.0, 0.0, 255.0]);
    }
}
