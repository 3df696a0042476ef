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
#[path = "mask_tests.rs"]
mod tests;
