//! The mask message: where the defects are, for displays and robots.
//!
//! The mask is at map resolution; `aff` takes map coordinates to picture pixels:
//! `x' = aff[0] x + aff[2]`, `y' = aff[1] y + aff[3]` (thousandths, integers). Where the model sees
//! the picture turned or in perspective, `quad` is there instead: where the corners of the mask lie
//! in the picture; and when it sees less than the picture or sees it otherwise, `pbox` has the
//! boxes in picture pixels. The smaller of COCO
//! run-length text and 1-bit PNG (base64) is sent. A message over [`MASK_BYTES_MAX`] halves the
//! mask's resolution (a coarse pixel is set when any of its four is) until it fits.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use super::{PAYLOAD_VERSION, VerdictRecord, deciding_view, push_json_text, rle, scaled};
use crate::frame::Geometry;
use crate::judge::Mask;

/// Bound of a mask message in bytes.
pub const MASK_BYTES_MAX: usize = 8 * 1024;

/// Most halvings: 1/16 of the map's resolution, below which boxes say as much.
const HALVINGS_MAX: u32 = 4;

/// What a mask message is made from.
#[derive(Clone, Copy, Debug)]
pub struct MaskMessage<'a> {
    /// The verdict it belongs to.
    pub record: &'a VerdictRecord,
    /// Defect pixels.
    pub mask: &'a Mask,
    /// Picture size (width, height) in pixels.
    pub picture: (usize, usize),
    /// What of the picture the model saw.
    pub geometry: Geometry,
    /// Names of the cameras: with several, the flags of the record say whose picture it is.
    pub cameras: &'a [String],
}

/// The smaller of the two encodings with its tag; `None` when there is no pixel or no encoder.
fn smaller(width: usize, height: usize, pixels: &[u8]) -> Option<(&'static str, String)> {
    let text = rle::encode(width, height, pixels);
    // The text holds a backslash where the run code is 44; JSON doubles it.
    let text = text.replace('\\', "\\\\");
    let picture = encode_png(width, height, pixels).map(|bytes| BASE64.encode(bytes));
    match picture {
        Some(picture) if picture.len() < text.len() => Some(("png", picture)),
        _ => Some(("rle", text)),
    }
}

fn encode_png(width: usize, height: usize, pixels: &[u8]) -> Option<Vec<u8>> {
    let mut bits = vec![0u8; width.div_ceil(8) * height];
    for (row, out) in pixels.chunks_exact(width).zip(bits.chunks_exact_mut(width.div_ceil(8))) {
        for (x, &p) in row.iter().enumerate() {
            out[x / 8] |= u8::from(p != 0) << (7 - x % 8);
        }
    }
    let mut out = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut out, u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&bits).ok()?;
    writer.finish().ok()?;
    Some(out)
}

/// Half the resolution, rounded up; a pixel is set when any of the four it covers is.
fn halved(width: usize, height: usize, pixels: &[u8]) -> (usize, usize, Vec<u8>) {
    let (w, h) = (width.div_ceil(2), height.div_ceil(2));
    let mut out = vec![0; w * h];
    for (i, _) in pixels.iter().enumerate().filter(|(_, p)| **p != 0) {
        out[(i / width / 2) * w + i % width / 2] = 1;
    }
    (w, h, out)
}

/// Everything before the mask itself: identities and boxes `[x, y, w, h, score x 10 000]` in map
/// pixels.
fn head(message: &MaskMessage<'_>) -> String {
    let (record, mask) = (message.record, message.mask);
    let mut out = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{{\"v\":{PAYLOAD_VERSION},\"q\":{},\"e\":{},\"t\":{},\"p\":\"{}\",\"mw\":{},\"mh\":{},\
         \"pw\":{},\"ph\":{}",
        record.seq,
        record.epoch,
        record.trigger.0,
        record.part,
        mask.width(),
        mask.height(),
        message.picture.0,
        message.picture.1,
    );
    push_view(&mut out, message);
    out.push_str(",\"box\":[");
    for (i, r) in record.verdict.regions.as_slice().iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let _ =
            write!(out, "{comma}[{},{},{},{},{}]", r.x, r.y, r.width, r.height, scaled(r.score));
    }
    out.push(']');
    if !message.geometry.is_whole() {
        push_picture_boxes(&mut out, message);
    }
    out
}

/// `,"view":NUMBER,"cn":NAME`: whose picture it is; nothing with one camera.
fn push_view(out: &mut String, message: &MaskMessage<'_>) {
    let Some(view) = deciding_view(message.record.flags) else { return };
    let Some(name) = message.cameras.get(view) else { return };
    // Writing to a String cannot fail.
    let _ = write!(out, ",\"view\":{},\"cn\":", view + 1);
    push_json_text(out, name);
}

/// `,"pbox":[[x, y, w, h], ...]`: the boxes in picture pixels, in the same order.
fn push_picture_boxes(out: &mut String, message: &MaskMessage<'_>) {
    let map = (message.mask.width(), message.mask.height());
    out.push_str(",\"pbox\":[");
    for (i, r) in message.record.verdict.regions.as_slice().iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        let [x, y, width, height] =
            message.geometry.enclosing(map, message.picture, (r.x, r.y, r.width, r.height));
        let _ = write!(out, "{comma}[{x},{y},{width},{height}]");
    }
    out.push(']');
}

/// `"aff":[...]`, or `"quad":[...]` where no affine says it: the way from a mask of this size, whose
/// pixels are `step` map pixels wide, to the picture, in thousandths of a pixel.
fn place(message: &MaskMessage<'_>, (width, height): (usize, usize), step: f64) -> String {
    let milli = |v: f64| (v * 1000.0).round() as i64;
    let map = (message.mask.width(), message.mask.height());
    if let Some(affine) = message.geometry.affine(map, message.picture) {
        return format!(
            "\"aff\":[{},{},{},{}]",
            milli(affine.scale_x * step),
            milli(affine.scale_y * step),
            milli(affine.offset_x),
            milli(affine.offset_y),
        );
    }
    // A coarse mask may be up to a pixel larger than the map.
    let onto = message.geometry.projection(map, message.picture);
    let (right, bottom) = (width as f64 * step, height as f64 * step);
    let corners = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom)];
    let [a, b, c, d] = corners.map(|(x, y)| {
        let (x, y) = onto.apply(x, y);
        format!("{},{}", milli(x), milli(y))
    });
    format!("\"quad\":[{a},{b},{c},{d}]")
}

/// The message as JSON, at most [`MASK_BYTES_MAX`] bytes; `None` when no pixel is marked.
///
/// Keys: `v, q, e, t, p`, map size `mw, mh`, picture size `pw, ph`, `box`, and, unless it would not
/// fit, `enc` (`rle` or `png`), mask size `w, h`, affine `aff` or corners `quad`, `data`; `pbox`
/// when the model does not see the whole picture as it is; `view` and `cn`, the camera's number and
/// name, when there are several.
pub fn encode_mask(message: &MaskMessage<'_>) -> Option<String> {
    encode_within(message, MASK_BYTES_MAX)
}

fn encode_within(message: &MaskMessage<'_>, bytes_max: usize) -> Option<String> {
    let mask = message.mask;
    if mask.count() == 0 {
        return None;
    }
    let mut out = head(message);
    let boxes_end = out.len();
    let (mut width, mut height, mut pixels) = (mask.width(), mask.height(), mask.pixels().to_vec());
    for halving in 0..=HALVINGS_MAX {
        if let Some((tag, data)) = smaller(width, height, &pixels) {
            let place = place(message, (width, height), f64::from(1u32 << halving));
            let _ = write!(
                out,
                ",\"enc\":\"{tag}\",\"w\":{width},\"h\":{height},{place},\"data\":\"{data}\"}}",
            );
            if out.len() <= bytes_max {
                return Some(out);
            }
            out.truncate(boxes_end);
        }
        (width, height, pixels) = halved(width, height, &pixels);
    }
    out.push('}');
    Some(out)
}

/// A mask message that was read back.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedMask {
    /// Sequence number.
    pub seq: u32,
    /// Boot epoch.
    pub epoch: u32,
    /// Boxes `[x, y, w, h, score x 10 000]` in map pixels.
    pub boxes: Vec<[i64; 5]>,
    /// Mask (width, height, row-major 0/1 bytes); `None` when only boxes were sent.
    pub mask: Option<(usize, usize, Vec<u8>)>,
    /// Thousandths of picture pixels per mask pixel and of the offset; zeros when only boxes were
    /// sent, or the corners instead.
    pub affine_milli: [i64; 4],
    /// Where the mask's corners lie in the picture, in thousandths of a pixel: x and y of top left,
    /// top right, bottom right, bottom left.
    pub quad_milli: Option<[i64; 8]>,
    /// The boxes `[x, y, w, h]` in picture pixels, when they were sent.
    pub picture_boxes: Option<Vec<[i64; 4]>>,
    /// Number (from 1) and name of the camera whose picture it is, when there are several.
    pub view: Option<(u16, String)>,
}

/// A payload that is no mask message.
#[derive(Debug, thiserror::Error)]
#[error("not a mask payload: {what}")]
pub struct MaskError {
    what: &'static str,
    #[source]
    source: Option<serde_json::Error>,
}

#[derive(Deserialize)]
struct Wire {
    v: u8,
    q: u32,
    e: u32,
    #[serde(rename = "box")]
    boxes: Vec<[i64; 5]>,
    enc: Option<String>,
    w: Option<usize>,
    h: Option<usize>,
    aff: Option<[i64; 4]>,
    quad: Option<[i64; 8]>,
    pbox: Option<Vec<[i64; 4]>>,
    data: Option<String>,
    view: Option<u16>,
    cn: Option<String>,
}

/// Masks are bounded by the largest map an engine may have.
const SIDE_MAX: usize = 4096;

fn decode_png(width: usize, height: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().ok()?;
    let info = reader.info();
    if (info.width as usize, info.height as usize) != (width, height)
        || info.bit_depth != png::BitDepth::One
        || info.color_type != png::ColorType::Grayscale
    {
        return None;
    }
    let mut bits = vec![0; reader.output_buffer_size()?];
    reader.next_frame(&mut bits).ok()?;
    let row = width.div_ceil(8);
    let at = |x: usize, y: usize| bits[y * row + x / 8] >> (7 - x % 8) & 1;
    Some((0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| at(x, y)).collect())
}

/// Reads a mask message, the counterpart of [`encode_mask`].
///
/// # Errors
/// When it is not such a message or the mask in it is not of the stated size.
pub fn decode_mask(payload: &[u8]) -> Result<DecodedMask, MaskError> {
    let bad = |what| MaskError { what, source: None };
    let wire: Wire = serde_json::from_slice(payload)
        .map_err(|e| MaskError { what: "not the JSON expected", source: Some(e) })?;
    if wire.v != PAYLOAD_VERSION {
        return Err(bad("another payload version"));
    }
    let mask = match (wire.enc.as_deref(), wire.w, wire.h, wire.data.as_deref()) {
        (None, None, None, None) => None,
        (Some(tag), Some(width), Some(height), Some(data)) => {
            if width == 0 || height == 0 || width > SIDE_MAX || height > SIDE_MAX {
                return Err(bad("impossible mask size"));
            }
            let pixels = match tag {
                "rle" => rle::decode(width, height, data),
                "png" => BASE64.decode(data).ok().and_then(|b| decode_png(width, height, &b)),
                _ => return Err(bad("unknown mask encoding")),
            };
            Some((width, height, pixels.ok_or_else(|| bad("the mask data is damaged"))?))
        }
        _ => return Err(bad("incomplete mask keys")),
    };
    if mask.is_some() && wire.aff.is_some() == wire.quad.is_some() {
        return Err(bad("neither or both of aff and quad"));
    }
    if wire.pbox.as_ref().is_some_and(|boxes| boxes.len() != wire.boxes.len()) {
        return Err(bad("not as many boxes of the picture as of the map"));
    }
    Ok(DecodedMask {
        seq: wire.q,
        epoch: wire.e,
        boxes: wire.boxes,
        mask,
        affine_milli: wire.aff.unwrap_or_default(),
        quad_milli: wire.quad,
        picture_boxes: wire.pbox,
        view: wire.view.zip(wire.cn),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibrate::CalibrationId;
    use crate::frame::{Nanos, PartId, RecipeId, TriggerId};
    use crate::judge::{Reason, Region, Verdict};

    fn record() -> VerdictRecord {
        let mut verdict = Verdict::invalid(Reason::Internal);
        verdict.regions.offer(Region { x: 3, y: 4, width: 5, height: 6, score: 0.5 });
        VerdictRecord {
            seq: 7,
            epoch: 2,
            trigger: TriggerId(70),
            part: PartId::new("P7").unwrap(),
            recipe: RecipeId(1),
            class: 0,
            calibration: CalibrationId(1),
            verdict,
            latency: Nanos(0),
            flags: 0,
        }
    }

    fn round_trip(width: usize, height: usize, set: impl Fn(usize, usize) -> bool) -> DecodedMask {
        let flags: Vec<bool> = (0..width * height).map(|i| set(i % width, i / width)).collect();
        let mask = Mask::from_pixels(width, height, &flags).unwrap();
        let message = MaskMessage {
            record: &record(),
            mask: &mask,
            picture: (2 * width, height),
            geometry: Geometry::WHOLE,
            cameras: &[],
        };
        let text = encode_mask(&message).unwrap();
        assert!(text.len() <= MASK_BYTES_MAX && text.is_ascii(), "{} bytes", text.len());
        let back = decode_mask(text.as_bytes()).unwrap();
        assert_covers(&back, &mask);
        back
    }

    /// A pixel that was read back is set exactly when one of those it stands for was.
    fn assert_covers(back: &DecodedMask, mask: &Mask) {
        let (w, h, pixels) = back.mask.as_ref().unwrap();
        let step =
            (0..=HALVINGS_MAX).map(|n| 1usize << n).find(|s| mask.width().div_ceil(*s) == *w);
        let step = step.unwrap();
        assert_eq!(mask.height().div_ceil(step), *h);
        for (i, &got) in pixels.iter().enumerate() {
            let (x0, y0) = (i % w * step, i / w * step);
            let any = (y0..y0 + step).any(|y| (x0..x0 + step).any(|x| mask.is_set(x, y)));
            assert_eq!(got, u8::from(any), "pixel {i} of {w}x{h}");
        }
    }

    #[test]
    fn a_small_defect_is_run_length_text_at_full_resolution() {
        let back = round_trip(256, 256, |x, y| (40..60).contains(&x) && (90..95).contains(&y));
        assert_eq!((back.mask.unwrap().0, back.affine_milli), (256, [2000, 1000, 0, 0]));
        assert_eq!((back.seq, back.epoch, back.boxes), (7, 2, vec![[3, 4, 5, 6, 5000]]));
    }

    #[test]
    fn a_mask_too_large_for_the_cap_becomes_coarser_and_says_so() {
        // Noise compresses badly in either form.
        let mixed = |x: usize, y: usize| {
            let z = ((x << 16 | y) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (z ^ z >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56
        };
        let noisy = |x: usize, y: usize| mixed(x, y) < 40;
        let back = round_trip(512, 512, noisy);
        let (width, height, pixels) = back.mask.unwrap();
        assert!(width < 512 && height == width && pixels.contains(&1));
        assert_eq!(back.affine_milli[0], (2000 * 512 / width) as i64);
    }

    #[test]
    fn boxes_alone_are_sent_when_no_mask_fits() {
        let flags: Vec<bool> = (0..64 * 64).map(|i| i % 3 == 0).collect();
        let mask = Mask::from_pixels(64, 64, &flags).unwrap();
        let message = MaskMessage {
            record: &record(),
            mask: &mask,
            picture: (64, 64),
            geometry: Geometry::WHOLE,
            cameras: &[],
        };
        let text = encode_within(&message, 0).unwrap();
        let back = decode_mask(text.as_bytes()).unwrap();
        assert_eq!((back.mask, back.boxes), (None, vec![[3, 4, 5, 6, 5000]]));
    }

    #[test]
    fn the_longest_head_leaves_nearly_all_room_to_the_mask() {
        let mut record = record();
        let widest = Region { x: 4095, y: 4095, width: 4096, height: 4096, score: f32::MAX };
        (0..9).for_each(|_| record.verdict.regions.offer(widest));
        (record.seq, record.epoch, record.trigger) = (u32::MAX, u32::MAX, TriggerId(u32::MAX));
        let mask = Mask::from_pixels(1, 1, &[true]).unwrap();
        let message = MaskMessage {
            record: &record,
            mask: &mask,
            picture: (16_384, 16_384),
            geometry: Geometry::WHOLE,
            cameras: &[],
        };
        assert!(encode_within(&message, 0).unwrap().len() < MASK_BYTES_MAX / 10);
    }

    #[test]
    fn nothing_marked_means_no_message() {
        let mask = Mask::empty(16, 16);
        let message = MaskMessage {
            record: &record(),
            mask: &mask,
            picture: (16, 16),
            geometry: Geometry::WHOLE,
            cameras: &[],
        };
        assert_eq!(encode_mask(&message), None);
    }

    #[test]
    fn a_mask_of_a_part_of_the_picture_points_into_the_picture() {
        let mask = Mask::from_pixels(32, 16, &[true; 512]).unwrap();
        let record = record();
        let sent = |geometry: Geometry| {
            let message = MaskMessage {
                record: &record,
                mask: &mask,
                picture: (640, 480),
                geometry,
                cameras: &[],
            };
            decode_mask(encode_mask(&message).unwrap().as_bytes()).unwrap()
        };
        let crop = Geometry { roi: Some([100, 50, 64, 32]), ..Geometry::WHOLE };
        let back = sent(crop);
        assert_eq!((back.affine_milli, back.quad_milli), ([2000, 2000, 100_000, 50_000], None));
        // The box [3, 4, 5, 6] of the map.
        assert_eq!(back.picture_boxes, Some(vec![[106, 58, 10, 12]]));
        let back = sent(Geometry { mirror: true, ..crop });
        assert_eq!(back.affine_milli, [-2000, 2000, 164_000, 50_000]);
        let back = sent(Geometry { rotate: 90, ..crop });
        let [left, top, right, bottom] = [100_000, 50_000, 164_000, 82_000];
        let corners = [left, bottom, left, top, right, top, right, bottom];
        assert_eq!((back.affine_milli, back.quad_milli), ([0; 4], Some(corners)));
        let corners = Some([[10.0, 10.0], [600.0, 20.0], [630.5, 470.0], [5.0, 460.0]]);
        let back = sent(Geometry { corners, ..Geometry::WHOLE });
        let want = [10_000, 10_000, 600_000, 20_000, 630_500, 470_000, 5_000, 460_000];
        assert_eq!(back.quad_milli, Some(want));
        assert_eq!(sent(Geometry::WHOLE).picture_boxes, None, "nothing new for those without");
    }

    #[test]
    fn the_corners_of_a_coarser_mask_are_those_of_its_own_pixels() {
        let mixed = |i: u64| {
            let z = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (z ^ z >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56
        };
        let flags: Vec<bool> = (0..510 * 509).map(|i| mixed(i) < 40).collect();
        let mask = Mask::from_pixels(510, 509, &flags).unwrap();
        let geometry = Geometry { rotate: 270, ..Geometry::WHOLE };
        let message = MaskMessage {
            record: &record(),
            mask: &mask,
            picture: (509, 510),
            geometry,
            cameras: &[],
        };
        let back = decode_mask(encode_mask(&message).unwrap().as_bytes()).unwrap();
        let (width, height, _) = back.mask.unwrap();
        let step = [2, 4, 8, 16].into_iter().find(|s| 510usize.div_ceil(*s) == width).unwrap();
        // A quarter turn to the left: the mask's rows run down the picture's right side, and its
        // last pixels reach beyond the picture.
        let (w, h) = ((width * step * 1000) as i64, (height * step * 1000) as i64);
        assert_eq!(back.quad_milli, Some([509_000, 0, 509_000, w, 509_000 - h, w, 509_000 - h, 0]));
    }

    #[test]
    fn damaged_messages_are_refused() {
        let mask = Mask::from_pixels(4, 1, &[false, true, true, false]).unwrap();
        let good = encode_mask(&MaskMessage {
            record: &record(),
            mask: &mask,
            picture: (4, 1),
            geometry: Geometry::WHOLE,
            cameras: &[],
        })
        .unwrap();
        for bad in [
            "",
            "{}",
            &good.replace("\"v\":1", "\"v\":9"),
            &good.replace("\"w\":4", "\"w\":5"),
            &good.replace("\"w\":4", "\"w\":0"),
            &good.replace("\"enc\":\"rle\"", "\"enc\":\"zip\""),
            &good.replace(",\"h\":1", ""),
            &good.replace("\"aff\":[1000,1000,0,0],", ""),
            &good.replace("\"aff\"", "\"quad\":[0,0,1,0,1,1,0,1],\"aff\""),
            &good.replace("\"box\"", "\"pbox\":[[0,0,1,1],[0,0,1,1]],\"box\""),
        ] {
            assert!(decode_mask(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_mask_that_fits_reads_back(
            width in 1usize..80, height in 1usize..80, density in 1u64..64, seed in any::<u64>(),
        ) {
            let set = |x: usize, y: usize| {
                let mixed = (seed ^ (x as u64) << 32 ^ y as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (mixed >> 58) < density || (x, y) == (0, 0)
            };
            round_trip(width, height, set);
        }
    }
}
