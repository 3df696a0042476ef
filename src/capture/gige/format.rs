//! Pixel formats as GenICam cameras name and number them. Pure.

use crate::frame::PixelFormat;

/// Names of a format in `PixelFormat`, that of the present convention first: cameras of SFNC 1.x
/// have older ones.
pub(super) fn names(format: PixelFormat) -> &'static [&'static str] {
    match format {
        PixelFormat::Mono8 => &["Mono8"],
        PixelFormat::Mono10 => &["Mono10"],
        PixelFormat::Mono12 => &["Mono12"],
        PixelFormat::Mono16 => &["Mono16"],
        PixelFormat::BayerRG8 => &["BayerRG8"],
        PixelFormat::BayerGR8 => &["BayerGR8"],
        PixelFormat::BayerGB8 => &["BayerGB8"],
        PixelFormat::BayerBG8 => &["BayerBG8"],
        PixelFormat::BayerRG10 => &["BayerRG10"],
        PixelFormat::BayerGR10 => &["BayerGR10"],
        PixelFormat::BayerGB10 => &["BayerGB10"],
        PixelFormat::BayerBG10 => &["BayerBG10"],
        PixelFormat::BayerRG12 => &["BayerRG12"],
        PixelFormat::BayerGR12 => &["BayerGR12"],
        PixelFormat::BayerGB12 => &["BayerGB12"],
        PixelFormat::BayerBG12 => &["BayerBG12"],
        PixelFormat::BayerRG16 => &["BayerRG16"],
        PixelFormat::BayerGR16 => &["BayerGR16"],
        PixelFormat::BayerGB16 => &["BayerGB16"],
        PixelFormat::BayerBG16 => &["BayerBG16"],
        PixelFormat::Rgb8 => &["RGB8", "RGB8Packed"],
        PixelFormat::Bgr8 => &["BGR8", "BGR8Packed"],
        PixelFormat::Yuyv => &["YUV422_8", "YUV422_YUYV_Packed"],
        PixelFormat::Uyvy => &["YUV422_8_UYVY", "YUV422Packed"],
        // No camera of these standards sends them.
        PixelFormat::Nv12 | PixelFormat::Mjpeg => &[],
    }
}

/// Codes of the pixel format naming convention.
const CODES: [(u32, PixelFormat); 24] = {
    use PixelFormat::*;
    [
        (0x0108_0001, Mono8),
        (0x0110_0003, Mono10),
        (0x0110_0005, Mono12),
        (0x0110_0007, Mono16),
        (0x0108_0008, BayerGR8),
        (0x0108_0009, BayerRG8),
        (0x0108_000a, BayerGB8),
        (0x0108_000b, BayerBG8),
        (0x0110_000c, BayerGR10),
        (0x0110_000d, BayerRG10),
        (0x0110_000e, BayerGB10),
        (0x0110_000f, BayerBG10),
        (0x0110_0010, BayerGR12),
        (0x0110_0011, BayerRG12),
        (0x0110_0012, BayerGB12),
        (0x0110_0013, BayerBG12),
        (0x0110_002e, BayerGR16),
        (0x0110_002f, BayerRG16),
        (0x0110_0030, BayerGB16),
        (0x0110_0031, BayerBG16),
        (0x0218_0014, Rgb8),
        (0x0218_0015, Bgr8),
        (0x0210_0032, Yuyv),
        (0x0210_001f, Uyvy),
    ]
};

/// The format with this code, when an engine can read it.
pub(super) fn by_code(code: u32) -> Option<PixelFormat> {
    CODES.iter().find(|(known, _)| *known == code).map(|(_, format)| *format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_states_the_bits_of_its_pixel() {
        for (code, format) in CODES {
            // Bits 16 to 23 of a code are the bits that a pixel takes in memory.
            let bits = code >> 16 & 0xff;
            assert_eq!(format.row_bytes(8) * 8, bits as usize * 8, "{format}");
            assert_eq!(by_code(code), Some(format));
            assert!(!names(format).is_empty(), "{format}");
        }
        assert_eq!(by_code(0x010c_0006), None, "packed in 12 bits: no engine reads it");
    }
}
