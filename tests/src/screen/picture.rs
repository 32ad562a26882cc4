//! What is to be seen: pixels to count, a PNG file to keep.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

/// Pixels in rows from the top, three bytes each: red, green, blue.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    rgb: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} × {})", self.width, self.height())
    }
}

impl Picture {
    /// From the bytes of whole rows.
    pub fn of_rgb(width: u32, rgb: Vec<u8>) -> Result<Self> {
        let row = width as usize * 3;
        ensure!(
            row > 0 && !rgb.is_empty() && rgb.len().is_multiple_of(row),
            "{} bytes are no rows of {row}",
            rgb.len()
        );
        Ok(Self { width, rgb })
    }

    /// From a PNG file of eight bits a channel, with or without transparency.
    pub fn of_png(bytes: &[u8]) -> Result<Self> {
        let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info().context("the picture is no PNG")?;
        let mut pixels = vec![0; reader.output_buffer_size().context("the picture is too large")?];
        let info = reader.next_frame(&mut pixels)?;
        ensure!(info.bit_depth == png::BitDepth::Eight, "the picture has {:?} bits a channel", info.bit_depth);
        let rgb = match info.color_type {
            png::ColorType::Rgb => pixels,
            png::ColorType::Rgba => pixels.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
            other => bail!("the picture is {other:?}"),
        };
        Self::of_rgb(info.width, rgb)
    }

    /// Columns.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        (self.rgb.len() / (self.width as usize * 3)) as u32
    }

    fn pixels(&self) -> impl Iterator<Item = [u8; 3]> {
        self.rgb.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]])
    }

    /// How many pixels are so.
    pub fn count(&self, is_so: impl Fn([u8; 3]) -> bool) -> usize {
        self.pixels().filter(|pixel| is_so(*pixel)).count()
    }

    /// How many pixels are not as in another picture of the same size.
    pub fn differs(&self, other: &Self) -> usize {
        self.pixels().zip(other.pixels()).filter(|(one, other)| one != other).count()
    }

    /// The columns, from the left, in which at least `count` pixels are so.
    pub fn columns(&self, count: usize, is_so: impl Fn([u8; 3]) -> bool) -> Vec<u32> {
        let mut found = vec![0_usize; self.width as usize];
        for (index, pixel) in self.pixels().enumerate() {
            found[index % self.width as usize] += usize::from(is_so(pixel));
        }
        (0..self.width).zip(found).filter(|(_, found)| *found >= count).map(|(column, _)| column).collect()
    }

    /// How bright it is on the whole: 0 is black, 1 is white.
    pub fn brightness(&self) -> f64 {
        let sum: u64 = self.rgb.iter().map(|channel| u64::from(*channel)).sum();
        sum as f64 / (self.rgb.len() as f64 * 255.0)
    }

    /// Writes it into a PNG file.
    pub fn save(&self, file: &Path) -> Result<()> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height());
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        std::fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_again() {
        let white = [255; 3];
        let rgb = [[0, 0, 0], white, white, [10, 20, 30], white, [0, 0, 0]].concat();
        let picture = Picture::of_rgb(3, rgb).expect("two rows");
        assert_eq!((picture.width(), picture.height()), (3, 2));
        assert_eq!(picture.count(|pixel| pixel == white), 3);
        assert_eq!(picture.columns(2, |pixel| pixel == white), [1]);
        assert_eq!(picture.columns(1, |pixel| pixel == white), [1, 2]);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("picture.png");
        picture.save(&file).expect("it is written");
        assert_eq!(picture.differs(&picture), 0);
        let read = Picture::of_png(&std::fs::read(&file).expect("it is there")).expect("a PNG");
        assert_eq!(read, picture);
        assert!(Picture::of_rgb(4, vec![0; 13]).is_err());
        assert!(Picture::of_png(b"no picture").is_err());
    }
}
