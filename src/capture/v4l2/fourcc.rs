//! V4L2's four-character codes of the pixel formats. Pure.

use std::fmt;

use crate::frame::PixelFormat;

/// A four-character code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FourCc(pub u32);

/// The code of each format, as `linux/videodev2.h` has them.
const TABLE: [(PixelFormat, &[u8; 4]); 26] = {
    use PixelFormat::*;
    [
        (Mono8, b"GREY"),
        (Mono10, b"Y10 "),
        (Mono12, b"Y12 "),
        (Mono16, b"Y16 "),
        (BayerRG8, b"RGGB"),
        (BayerGR8, b"GRBG"),
        (BayerGB8, b"GBRG"),
        (BayerBG8, b"BA81"),
        (BayerRG10, b"RG10"),
        (BayerGR10, b"BA10"),
        (BayerGB10, b"GB10"),
        (BayerBG10, b"BG10"),
        (BayerRG12, b"RG12"),
        (BayerGR12, b"BA12"),
        (BayerGB12, b"GB12"),
        (BayerBG12, b"BG12"),
        (BayerRG16, b"RG16"),
        (BayerGR16, b"GR16"),
        (BayerGB16, b"GB16"),
        (BayerBG16, b"BYR2"),
        (Rgb8, b"RGB3"),
        (Bgr8, b"BGR3"),
        (Yuyv, b"YUYV"),
        (Uyvy, b"UYVY"),
        (Nv12, b"NV12"),
        (Mjpeg, b"MJPG"),
    ]
};

impl FourCc {
    /// The code of `format`.
    pub fn of(format: PixelFormat) -> FourCc {
        let code = TABLE.iter().find(|(known, _)| *known == format).map(|(_, code)| code);
        code.map_or(FourCc(0), |code| FourCc(u32::from_le_bytes(**code)))
    }

    /// The format of this code, when it is one that a station takes.
    pub fn format(self) -> Option<PixelFormat> {
        TABLE.iter().find(|(format, _)| FourCc::of(*format) == self).map(|(format, _)| *format)
    }
}

/// The four characters; the top bit, which marks big-endian variants, as in the kernel's messages.
impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BIG_ENDIAN: u32 = 1 << 31;
        for byte in (self.0 & !BIG_ENDIAN).to_le_bytes() {
            let shown =
                if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' };
            write!(f, "{shown}")?;
        }
        if self.0 & BIG_ENDIAN != 0 { f.write_str("-BE") } else { Ok(()) }
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FourCc({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_format_has_a_code_of_its_own_and_is_found_by_it() {
        let codes: BTreeSet<_> = PixelFormat::ALL.map(FourCc::of).into();
        assert_eq!(codes.len(), PixelFormat::ALL.len());
        for format in PixelFormat::ALL {
            assert_eq!(FourCc::of(format).format(), Some(format), "{format}");
        }
    }

    /// Values of the macros of `linux/videodev2.h` as a C compiler gives them.
    #[test]
    fn codes_are_those_of_the_kernels_header() {
        for (format, code) in [
            (PixelFormat::Mono8, 0x5945_5247),
            (PixelFormat::Mono10, 0x2030_3159),
            (PixelFormat::Mono16, 0x2036_3159),
            (PixelFormat::BayerRG8, 0x4247_4752),
            (PixelFormat::BayerBG8, 0x3138_4142),
            (PixelFormat::BayerGR10, 0x3031_4142),
            (PixelFormat::BayerGR12, 0x3231_4142),
            (PixelFormat::BayerBG16, 0x3252_5942),
            (PixelFormat::Bgr8, 0x3352_4742),
            (PixelFormat::Nv12, 0x3231_564e),
            (PixelFormat::Mjpeg, 0x4750_4a4d),
        ] {
            assert_eq!(FourCc::of(format).0, code, "{format}");
        }
    }

    #[test]
    fn a_code_is_shown_as_its_characters() {
        assert_eq!(FourCc::of(PixelFormat::Mono10).to_string(), "Y10 ");
        assert_eq!(FourCc(0x2036_3159 | 1 << 31).to_string(), "Y16 -BE");
        assert_eq!(FourCc(1).to_string(), "????");
        assert_eq!(FourCc(0x2036_3159 | 1 << 31).format(), None);
    }
}
