//! Golden pictures: known inputs with the answers the trainer's own run of the model gave.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::Manifest;

/// One picture and its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenCase {
    /// `height * width * 3` bytes, RGB interleaved.
    pub image: Vec<u8>,
    /// `map_height * map_width` values, row-major.
    pub map: Vec<f32>,
    /// Image score.
    pub score: f32,
}

/// All golden pictures of a bundle; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    cases: Vec<GoldenCase>,
    range: f32,
}

impl Golden {
    /// The pictures in file order.
    pub fn cases(&self) -> &[GoldenCase] {
        &self.cases
    }

    /// Largest minus smallest value over all golden maps: the scale of the tolerance.
    pub fn range(&self) -> f32 {
        self.range
    }

    /// Reads `bytes` (safetensors) as the manifest describes them; the error says which tensor is
    /// wrong and how.
    pub(super) fn read(bytes: &[u8], m: &Manifest) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let cases = (0..m.golden.count)
            .map(|i| case(&file, i, m))
            .collect::<Result<Vec<GoldenCase>, String>>()?;
        let values = || cases.iter().flat_map(|c| c.map.iter().copied());
        let largest = values().fold(f32::NEG_INFINITY, f32::max);
        let smallest = values().fold(f32::INFINITY, f32::min);
        Ok(Self { range: largest - smallest, cases })
    }
}

fn case(file: &SafeTensors<'_>, i: usize, m: &Manifest) -> Result<GoldenCase, String> {
    let image = tensor(
        file,
        &format!("image.{i}"),
        Dtype::U8,
        &[&[m.input.height, m.input.width, 3], &[1, m.input.height, m.input.width, 3]],
    )?;
    let (h, w) = (m.output.map_height, m.output.map_width);
    let map = tensor(file, &format!("anomaly_map.{i}"), Dtype::F32, &[&[h, w], &[1, 1, h, w]])?;
    let score = tensor(file, &format!("score.{i}"), Dtype::F32, &[&[1], &[]])?;
    let case = GoldenCase {
        image: image.data().to_vec(),
        map: floats(&map),
        score: floats(&score).first().copied().unwrap_or(f32::NAN),
    };
    if !case.score.is_finite() || case.map.iter().any(|v| !v.is_finite()) {
        return Err(format!("golden picture {i} has a value that is not finite"));
    }
    Ok(case)
}

fn tensor<'a>(
    file: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
    shapes: &[&[usize]],
) -> Result<TensorView<'a>, String> {
    let view = file.tensor(name).map_err(|_| format!("tensor `{name}` is missing"))?;
    if view.dtype() != dtype || !shapes.contains(&view.shape()) {
        return Err(format!(
            "tensor `{name}` is {:?} {:?}, it must be {dtype:?} {:?}",
            view.dtype(),
            view.shape(),
            shapes[0],
        ));
    }
    Ok(view)
}

fn floats(view: &TensorView<'_>) -> Vec<f32> {
    view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
