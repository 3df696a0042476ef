//! A model that reads the camera's frame as it lies in memory: the preprocessing as nodes in
//! front of it.
//!
//! The nodes are the filter of [`image`](crate::image) as matrix products with its very weights, the
//! mixing of colours, and rounding to whole levels, so that the model sees what it sees on the
//! station's CPU within a level. Normalisation is in the model already, and all that follows
//! stays as it is. The frame is one tensor of bytes, `[1, rows, bytes of a row]`, whatever the format.

use std::fmt;

use tract_onnx::pb;

use super::GraphError;
use super::builder::{GraphBuilder, Storage, Value};
use super::half::graph_of;
use crate::frame::{Geometry, PixelFormat};
use crate::image::{Filter, FilterAxis};

/// Name of the input of a model for a camera: UINT8 `[1, rows, bytes of a row]`.
pub const FRAME: &str = "frame";
/// What the names of the nodes in front begin with.
const PREFIX: &str = "camera.";

/// The frames of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraFrames {
    /// How pixels lie in memory.
    pub format: PixelFormat,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Bytes from one row to the next, padding included; `None` when there is none.
    pub row_bytes: Option<usize>,
    /// What the model sees of them.
    pub geometry: Geometry,
}

impl CameraFrames {
    /// Shape of the input [`FRAME`].
    pub fn shape(&self) -> [usize; 3] {
        let row = self.row_bytes.unwrap_or_else(|| self.format.row_bytes(self.width));
        [1, self.format.rows(self.height), row]
    }

    /// Bytes of the input [`FRAME`], padding of the last row included.
    pub fn bytes(&self) -> usize {
        self.shape().iter().product()
    }
}

/// In one line, the same for the same input: rows are only told when they are padded.
impl fmt::Display for CameraFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { format, width, height, geometry, .. } = self;
        write!(f, "{format} {width}x{height}")?;
        let [_, _, row] = self.shape();
        if row != format.row_bytes(*width) {
            write!(f, " in rows of {row} bytes")?;
        }
        write!(f, ", {geometry}")
    }
}

/// Puts the preprocessing of these frames in front of `model`, whose input `input` is a picture of
/// `to` (width, height) pixels.
///
/// # Errors
/// When there is no such preprocessing in a graph (compressed frames, perspectives), the geometry
/// does not fit the frames, or the model is not one whose input can be replaced.
pub fn for_camera(
    model: &pb::ModelProto,
    input: &str,
    to: (usize, usize),
    frames: &CameraFrames,
) -> Result<pb::ModelProto, GraphError> {
    let graph = graph_of(model)?;
    check_model(graph, input)?;
    let front = picture(input, to, frames)?;
    let front = front.graph.unwrap_or_default();
    let mut composed = model.clone();
    let whole = composed.graph.get_or_insert_default();
    whole.node.splice(0..0, front.node);
    whole.initializer.splice(0..0, front.initializer);
    whole.input.retain(|i| i.name != input);
    whole.input.splice(0..0, front.input);
    let (key, value) = ("camera".to_owned(), frames.to_string());
    composed.metadata_props.push(pb::StringStringEntryProto { key, value });
    Ok(composed)
}

/// Only a picture that is cast at once can come as FLOAT, and no name may be there twice.
fn check_model(graph: &pb::GraphProto, input: &str) -> Result<(), GraphError> {
    if !graph.input.iter().any(|i| i.name == input) {
        return Err(GraphError::new(input, "the model has no such input"));
    }
    let mut takers = graph.node.iter().filter(|n| n.input.iter().any(|i| i == input));
    if let Some(other) = takers.find(|n| n.op_type != "Cast") {
        return Err(GraphError::new(&other.name, "the picture is not cast first"));
    }
    let outputs = graph.node.iter().flat_map(|n| &n.output);
    let mut names = outputs.chain(graph.initializer.iter().map(|t| &t.name));
    match names.find(|name| *name == FRAME || name.starts_with(PREFIX)) {
        Some(taken) => Err(GraphError::new(taken, "the name is kept for a camera's frame")),
        None => Ok(()),
    }
}

/// The preprocessing alone: its output `name` is the picture, FLOAT `[1, height, width, 3]` of whole
/// levels 0 to 255.
///
/// # Errors
/// As [`for_camera`].
pub fn picture(
    name: &str,
    to: (usize, usize),
    frames: &CameraFrames,
) -> Result<pb::ModelProto, GraphError> {
    let size = (frames.width, frames.height);
    let filter = Filter::of(frames.format, size, &frames.geometry, to)
        .map_err(|e| GraphError::new(FRAME, chain(&e)))?
        .ok_or_else(|| {
            let what = "compressed frames and perspectives are prepared on the CPU";
            GraphError::new(FRAME, what)
        })?;
    let [_, _, row] = frames.shape();
    if row < frames.format.row_bytes(frames.width) {
        return Err(GraphError::new(FRAME, format!("{row} bytes are too few for a row")));
    }
    let mut g = GraphBuilder::new("camera", Storage::Fp32);
    let shape = frames.shape();
    let frame = g.input_u8(FRAME, &shape);
    let mut front = Front { g: &mut g, filter: &filter };
    let samples = front.samples(&frame, &shape);
    let channels = front.channels(&samples);
    let picture = front.picture(name, &channels);
    g.output(&picture);
    g.finish(vec![])
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

struct Front<'a> {
    g: &'a mut GraphBuilder,
    filter: &'a Filter,
}

impl Front<'_> {
    /// The samples of the frame, `[rows, samples of a row]`.
    fn samples(&mut self, frame: &Value, &[_, rows, bytes]: &[usize; 3]) -> Value {
        // Cast first: TensorRT takes bytes as an input only when they are cast at once.
        let x = self.g.cast_f32("camera.bytes", frame);
        let x = self.g.reshape("camera.rows", &x, &[rows, bytes]);
        if self.filter.sample_bytes == 1 {
            return x;
        }
        let end = bytes / 2 * 2;
        let low = self.g.strided("camera.low", &x, 1, (0, end, 2));
        let high = self.g.strided("camera.high", &x, 1, (1, end, 2));
        let byte = self.g.constant("camera.byte", &[], &[256.0]);
        let max = self.g.constant("camera.max", &[], &[f32::from(self.filter.sample_max)]);
        let high = self.g.mul("camera.high.value", &high, &byte);
        let words = self.g.add("camera.words", &low, &high);
        self.g.min("camera.clamped", &words, &max)
    }

    /// Each channel, filtered: `[channels, pixels]`.
    fn channels(&mut self, samples: &Value) -> Value {
        let filter = self.filter;
        let mixed: Vec<Value> = filter
            .rows
            .iter()
            .enumerate()
            .map(|(i, axis)| {
                let at = |part: &str| format!("camera.down.{i}{part}");
                let rows = self.used(&at(".rows"), samples, 0, axis);
                let shape = [axis.outputs, axis.inputs];
                let weights = self.g.constant(&at(".weights"), &shape, &axis.weights);
                self.g.matmul(&at(""), &weights, &rows)
            })
            .collect();
        let channels: Vec<Value> = filter
            .channels
            .iter()
            .enumerate()
            .map(|(i, (down, axis))| {
                let at = |part: &str| format!("camera.across.{i}{part}");
                let columns = self.used(&at(".columns"), &mixed[*down], 1, axis);
                let weights = transposed(axis);
                let shape = [axis.inputs, axis.outputs];
                let weights = self.g.constant(&at(".weights"), &shape, &weights);
                let x = self.g.matmul(&at(""), &columns, &weights);
                let pixels = x.shape().iter().product();
                self.g.reshape(&at(".flat"), &x, &[1, pixels])
            })
            .collect();
        self.g.concat("camera.channels", &channels.iter().collect::<Vec<_>>(), 0)
    }

    /// The samples of an axis that the filter uses.
    fn used(&mut self, name: &str, x: &Value, axis: usize, filter: &FilterAxis) -> Value {
        let end = filter.first + filter.step * (filter.inputs - 1) + 1;
        self.g.strided(name, x, axis, (filter.first, end, filter.step))
    }

    /// Channels to RGB of whole levels, turned.
    fn picture(&mut self, name: &str, channels: &Value) -> Value {
        let filter = self.filter;
        let (h, w) = (filter.rows[0].outputs, filter.channels[0].1.outputs);
        let count = filter.channels.len();
        let mix = self.g.constant("camera.mix", &[3, count], &filter.mix.concat());
        // Half a level more, to round by cutting off.
        let offset = self.g.constant("camera.offset", &[3, 1], &filter.offset.map(|v| v + 0.5));
        let x = self.g.matmul("camera.mixed", &mix, channels);
        let x = self.g.add("camera.rgb", &x, &offset);
        let x = self.g.clip("camera.range", &x, 0.0, 255.0);
        let x = self.g.floor("camera.levels", &x);
        let x = self.g.reshape("camera.planes", &x, &[3, h, w]);
        let turned: [usize; 3] = if filter.transposed { [2, 1, 0] } else { [1, 2, 0] };
        let x = self.g.transpose("camera.pixels", &x, &turned);
        let shape = [1, x.shape()[0], x.shape()[1], 3];
        self.g.reshape(name, &x, &shape)
    }
}

fn transposed(axis: &FilterAxis) -> Vec<f32> {
    let columns = 0..axis.inputs;
    columns.flat_map(|c| axis.weights[c..].iter().step_by(axis.inputs).copied()).collect()
}

#[cfg(test)]
#[path = "camera_tests.rs"]
mod tests;
