//! `[inference]`: what runs the model.

use std::path::PathBuf;

use super::reader::Section;
use crate::frame::Precision;

/// Largest number of a processor: more than the machines have.
const CORE_MAX: i64 = 1023;

/// What runs the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendChoice {
    /// `auto`: TensorRT where it and a GPU are there, else the CPU.
    Auto,
    /// `cpu`.
    Cpu,
    /// `ort`: onnxruntime, in a build with it.
    Ort,
    /// `tensorrt`: the station does not start without it.
    TensorRt,
}

/// `[inference]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inference {
    /// `backend`. Default `auto`.
    pub backend: BackendChoice,
    /// `library_dir`: folder of TensorRT's libraries. Default: where the system's loader looks.
    pub library_dir: Option<PathBuf>,
    /// `precision`: arithmetic of TensorRT. Default `fp32`.
    pub precision: Precision,
    /// `serve_while_building`: the CPU judges parts while an engine is built. Default true.
    pub serve_while_building: bool,
    /// `raw_frames`: the GPU reads frames where the camera wrote them, in memory that both see, and
    /// prepares the picture itself. Default false.
    pub raw_frames: bool,
    /// `core`: the processor that the inspecting thread keeps to. Default: wherever the system
    /// puts it.
    pub core: Option<usize>,
}

pub(super) fn inference(section: Section<'_>) -> Inference {
    let backends = [
        ("auto", BackendChoice::Auto),
        ("cpu", BackendChoice::Cpu),
        ("ort", BackendChoice::Ort),
        ("tensorrt", BackendChoice::TensorRt),
    ];
    let precisions = [Precision::Fp32, Precision::Fp16].map(|one| (one.name(), one));
    let library_dir = section.text("library_dir", "none").map(|found| {
        if found.value.is_empty() {
            found.refuse("empty", "name the folder of libnvinfer.so, or leave the field out");
        }
        section.anchor(found.value)
    });
    let inference = Inference {
        backend: section.word("backend", &backends, 0),
        library_dir,
        precision: section.word("precision", &precisions, 0),
        serve_while_building: section.boolean("serve_while_building", true),
        raw_frames: section.boolean("raw_frames", false),
        core: section
            .integer_optional("core", 0..=CORE_MAX, "any")
            .and_then(|found| usize::try_from(found.value).ok()),
    };
    section.finish();
    inference
}
