use super::*;
use crate::engine::{EngineErrorKind, ScriptedEngine};
use crate::frame::{Geometry, PixelFormat, Precision};

/// Side of the model's input and map.
const SIDE: usize = 16;

fn spec() -> ModelSpec {
    ModelSpec {
        input_width: SIDE,
        input_height: SIDE,
        map_width: SIDE,
        map_height: SIDE,
        classes: vec!["plate".to_owned()],
        sha256: "0".repeat(64),
        precision: Precision::Fp32,
    }
}

/// Says of each pixel how far it lies from the mean; fails at a white picture.
fn contrast(input: &[u8], map: &mut AnomalyMap) -> Result<(), EngineError> {
    if input.iter().all(|v| *v == 255) {
        return Err(EngineError::new(EngineErrorKind::Backend, "scripted failure"));
    }
    let grey: Vec<f32> = input.chunks_exact(3).map(|p| f32::from(p[1])).collect();
    let mean = grey.iter().sum::<f32>() / grey.len() as f32;
    for (value, grey) in map.values.iter_mut().zip(&grey) {
        *value = (grey - mean).abs() / 255.0;
    }
    map.score = map.max();
    Ok(())
}

fn eye() -> Eye {
    Eye::new(Box::new(ScriptedEngine::new(spec(), contrast)))
}

/// A grey picture with a dark square.
fn picture(width: usize, height: usize, (x, y): (usize, usize), side: usize) -> Vec<u8> {
    let dark =
        |at: usize| (x..x + side).contains(&(at % width)) && (y..y + side).contains(&(at / width));
    (0..width * height).map(|at| if dark(at) { 0 } else { 200 }).collect()
}

fn mono(data: &[u8], width: usize, height: usize) -> ImageView<'_> {
    ImageView::new(data, width, height, width, PixelFormat::Mono8).unwrap()
}

#[test]
fn a_defect_that_vanishes_in_the_resize_is_found_in_a_tile_where_it_is() {
    let data = picture(320, 160, (203, 91), 4);
    let mut eye = eye();
    let mut score = |tiling: Tiling| {
        let framing = Framing { tiling, ..Framing::WHOLE };
        assert_eq!(eye.prepare(&framing, mono(&data, 320, 160)).unwrap(), Held::Nothing);
        assert!(eye.look(None, || true).unwrap());
        assert!(eye.map().is_complete());
        assert_eq!((eye.map().width, eye.map().height), eye.map_size());
        let top = eye.map().max();
        let at = eye.map().values.iter().position(|v| *v == top).unwrap();
        let affine = Geometry::WHOLE.affine(eye.map_size(), (320, 160)).unwrap();
        let (u, v) = (at % eye.map().width, at / eye.map().width);
        (eye.map().score, affine.apply(u as f64 + 0.5, v as f64 + 0.5))
    };
    let (at_once, _) = score(Tiling::WHOLE);
    let (tiled, (x, y)) = score(Tiling { columns: 8, rows: 4, overlap: 0.1 });
    assert!(tiled > 6.0 * at_once, "{at_once} at once, {tiled} in tiles");
    assert!((203.0..207.0).contains(&x) && (91.0..95.0).contains(&y), "({x}, {y})");
}

#[test]
fn the_time_is_looked_at_before_every_further_tile() {
    let data = picture(64, 64, (3, 3), 4);
    let mut eye = eye();
    let framing =
        Framing { tiling: Tiling { columns: 2, rows: 2, overlap: 0.0 }, ..Framing::WHOLE };
    eye.prepare(&framing, mono(&data, 64, 64)).unwrap();
    let mut asked = 0;
    let finished = eye.look(None, || {
        asked += 1;
        asked < 3
    });
    assert!(!finished.unwrap());
    assert_eq!(asked, 3);
    assert!(!eye.map().is_complete(), "what was not looked at cannot pass");
    assert!(eye.look(None, || true).unwrap() && eye.map().is_complete());
}

#[test]
fn a_tile_that_fails_leaves_no_map() {
    let mut data = picture(64, 32, (40, 3), 4);
    // The left tile is white.
    (0..32).for_each(|y| data[y * 64..y * 64 + 32].fill(255));
    let mut eye = eye();
    let tiling = Tiling { columns: 2, rows: 1, overlap: 0.0 };
    let framing = Framing { tiling, ..Framing::WHOLE };
    eye.prepare(&framing, mono(&data, 64, 32)).unwrap();
    eye.look(None, || true).unwrap_err();
    assert!(!eye.map().is_complete());
    // At once again: nothing of the tiles is left.
    eye.prepare(&Framing::WHOLE, mono(&data, 64, 32)).unwrap();
    assert!(eye.look(None, || true).unwrap());
    assert_eq!((eye.map().width, eye.map().height), (SIDE, SIDE));
}

#[test]
fn a_picture_that_is_the_input_is_read_where_it_lies_unless_it_is_cut_into_tiles() {
    let data = vec![7; SIDE * SIDE * 3];
    let view = ImageView::new(&data, SIDE, SIDE, SIDE * 3, PixelFormat::Rgb8).unwrap();
    let mut eye = eye();
    assert_eq!(eye.prepare(&Framing::WHOLE, view).unwrap(), Held::Picture);
    assert!(eye.look(eye_bytes(&data), || true).unwrap());
    let tiling = Tiling { columns: 2, rows: 2, overlap: 0.1 };
    let framing = Framing { tiling, ..Framing::WHOLE };
    assert_eq!(eye.prepare(&framing, view).unwrap(), Held::Nothing);
    let too_small = ImageView::new(&data, 4, 2, 12, PixelFormat::Rgb8).unwrap();
    let tiling = Tiling { columns: 8, rows: 2, overlap: 0.0 };
    let error = eye.prepare(&Framing { tiling, ..Framing::WHOLE }, too_small).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("2x2"), "{source}");
}

fn eye_bytes(data: &[u8]) -> Option<&[u8]> {
    Some(data)
}
