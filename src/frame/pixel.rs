//! How a camera lays its pixels out in memory.

use std::fmt;

/// Memory layout of a frame, named as in the GenICam Pixel Format Naming Convention (PFNC 2.4)
/// where it has a name for it. More than 8 bits a pixel lie in 16-bit little-endian words, the
/// value in the low bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The names are the convention's own.
pub enum PixelFormat {
    Mono8,
    Mono10,
    Mono12,
    Mono16,
    BayerRG8,
    BayerGR8,
    BayerGB8,
    BayerBG8,
    BayerRG10,
    BayerGR10,
    BayerGB10,
    BayerBG10,
    BayerRG12,
    BayerGR12,
    BayerGB12,
    BayerBG12,
    BayerRG16,
    BayerGR16,
    BayerGB16,
    BayerBG16,
    Rgb8,
    Bgr8,
    /// Y U Y V: two pixels in four bytes (PFNC `YUV422_8`, V4L2 `YUYV`).
    Yuyv,
    /// U Y V Y (PFNC `YUV422_8_UYVY`, V4L2 `UYVY`).
    Uyvy,
    /// A plane of Y, then one of interleaved U V at half the width and height (V4L2 `NV12`).
    Nv12,
    /// One JPEG file a frame (V4L2 `MJPG`).
    Mjpeg,
}

/// Which colour the top left pixel of a Bayer mosaic and its right neighbour have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mosaic {
    /// Red first: R G / G B.
    Rg,
    /// Green first, then red: G R / B G.
    Gr,
    /// Green first, then blue: G B / R G.
    Gb,
    /// Blue first: B G / G R.
    Bg,
}

impl PixelFormat {
    /// Every format.
    pub const ALL: [PixelFormat; 26] = {
        use PixelFormat::*;
        [
            Mono8, Mono10, Mono12, Mono16, BayerRG8, BayerGR8, BayerGB8, BayerBG8, BayerRG10,
            BayerGR10, BayerGB10, BayerBG10, BayerRG12, BayerGR12, BayerGB12, BayerBG12, BayerRG16,
            BayerGR16, BayerGB16, BayerBG16, Rgb8, Bgr8, Yuyv, Uyvy, Nv12, Mjpeg,
        ]
    };

    /// The name in a configuration file.
    pub fn name(self) -> &'static str {
        use PixelFormat::*;
        match self {
            Mono8 => "Mono8",
            Mono10 => "Mono10",
            Mono12 => "Mono12",
            Mono16 => "Mono16",
            BayerRG8 => "BayerRG8",
            BayerGR8 => "BayerGR8",
            BayerGB8 => "BayerGB8",
            BayerBG8 => "BayerBG8",
            BayerRG10 => "BayerRG10",
            BayerGR10 => "BayerGR10",
            BayerGB10 => "BayerGB10",
            BayerBG10 => "BayerBG10",
            BayerRG12 => "BayerRG12",
            BayerGR12 => "BayerGR12",
            BayerGB12 => "BayerGB12",
            BayerBG12 => "BayerBG12",
            BayerRG16 => "BayerRG16",
            BayerGR16 => "BayerGR16",
            BayerGB16 => "BayerGB16",
            BayerBG16 => "BayerBG16",
            Rgb8 => "RGB8",
            Bgr8 => "BGR8",
            Yuyv => "YUYV",
            Uyvy => "UYVY",
            Nv12 => "NV12",
            Mjpeg => "MJPEG",
        }
    }

    /// The format of that name, upper or lower case.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// The mosaic of a Bayer format.
    pub fn mosaic(self) -> Option<Mosaic> {
        use PixelFormat::*;
        match self {
            BayerRG8 | BayerRG10 | BayerRG12 | BayerRG16 => Some(Mosaic::Rg),
            BayerGR8 | BayerGR10 | BayerGR12 | BayerGR16 => Some(Mosaic::Gr),
            BayerGB8 | BayerGB10 | BayerGB12 | BayerGB16 => Some(Mosaic::Gb),
            BayerBG8 | BayerBG10 | BayerBG12 | BayerBG16 => Some(Mosaic::Bg),
            _ => None,
        }
    }

    /// Bits of a sample that carry a value.
    pub fn bits(self) -> u32 {
        use PixelFormat::*;
        match self {
            Mono10 | BayerRG10 | BayerGR10 | BayerGB10 | BayerBG10 => 10,
            Mono12 | BayerRG12 | BayerGR12 | BayerGB12 | BayerBG12 => 12,
            Mono16 | BayerRG16 | BayerGR16 | BayerGB16 | BayerBG16 => 16,
            _ => 8,
        }
    }

    /// Whether the bytes are a compressed file: rows, strides and sizes say nothing about them.
    pub fn is_compressed(self) -> bool {
        self == PixelFormat::Mjpeg
    }

    /// Bytes of a row of `width` pixels without padding; of the first plane when there are two.
    /// 0 when compressed.
    pub fn row_bytes(self, width: usize) -> usize {
        let bytes_each = match self {
            PixelFormat::Rgb8 | PixelFormat::Bgr8 => 3,
            PixelFormat::Yuyv | PixelFormat::Uyvy => {
                return width.saturating_add(width & 1).saturating_mul(2);
            }
            PixelFormat::Nv12 => return width.saturating_add(width & 1),
            PixelFormat::Mjpeg => return 0,
            _ if self.bits() > 8 => 2,
            _ => 1,
        };
        width.saturating_mul(bytes_each)
    }

    /// Rows in memory of a picture `height` pixels high, those of a second plane included.
    pub fn rows(self, height: usize) -> usize {
        match self {
            PixelFormat::Nv12 => height.saturating_add(height.div_ceil(2)),
            _ => height,
        }
    }

    /// Whether colours are sampled in pairs of columns, so that the width must be even.
    pub fn width_is_even(self) -> bool {
        matches!(self, PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Nv12)
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::named(format.name()), Some(format));
            assert_eq!(PixelFormat::named(&format.name().to_lowercase()), Some(format));
        }
        assert_eq!(PixelFormat::named("Mono"), None);
    }

    #[test]
    fn bytes_of_a_row_are_those_of_the_standards() {
        let bytes = |format: PixelFormat| (format.row_bytes(6), format.rows(5));
        assert_eq!(bytes(PixelFormat::BayerGB8), (6, 5));
        assert_eq!(bytes(PixelFormat::Mono12), (12, 5));
        assert_eq!(bytes(PixelFormat::Rgb8), (18, 5));
        assert_eq!(bytes(PixelFormat::Uyvy), (12, 5));
        assert_eq!(bytes(PixelFormat::Nv12), (6, 8));
        assert_eq!(bytes(PixelFormat::Mjpeg), (0, 5));
    }
}
