//! What will run the model: for `crrd check`, which engines a station uses, whether they are built, and by
//! which command they are built beforehand.
//!
//! An engine for the GPU is not built here, for a service is checked before each start.

use std::io;

use super::assets;
use super::check::Outcome;
use super::engine::build_command;
use crate::config::{self, CameraSource, ValidConfig};
use crate::engine::bundle::Bundle;
use crate::engine::graph::CameraFrames;
use crate::engine::tensorrt::{Target, TensorRt};
use crate::engine::{self, Backend, EngineError, Gpu};
use crate::frame::Precision;

/// What will run the model of a station.
pub(super) struct Inference<'a> {
    config: &'a ValidConfig,
    /// `None` when the configuration wants no GPU.
    gpu: Option<Gpu>,
    /// With a GPU; `None` when something is missing.
    tensorrt: Option<TensorRt>,
}

/// What came of the first picture of a camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Seen {
    /// No picture came.
    Nothing,
    /// One that is prepared on the CPU, whatever runs the model.
    Unreadable,
    /// A frame that an engine may read where it lies.
    Frame(CameraFrames),
}

/// How it is with the plan of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// Kept in this file.
    There(String),
    Missing,
    /// Why it cannot be used.
    Useless(String),
    /// There is nothing to run it on.
    NoGpu,
}

/// Whether the inspection can keep to this processor, of those that there are; `try_it` does it on a
/// thread of its own.
pub(super) fn core(
    core: usize,
    allowed: io::Result<Vec<usize>>,
    try_it: impl FnOnce() -> io::Result<()>,
) -> Outcome {
    let allowed = match allowed {
        Ok(allowed) => allowed,
        Err(error) => {
            return Outcome::Warn(format!("inference.core: processors are not told: {error}"));
        }
    };
    if !allowed.contains(&core) {
        return Outcome::Warn(format!(
            "inference.core = {core}: this program has the processors {allowed:?}, so the \
             inspection will run on any of them; name one of these, or leave the field out"
        ));
    }
    match try_it() {
        Ok(()) => Outcome::Ok(format!("the inspection keeps to processor {core} of {allowed:?}")),
        Err(error) => Outcome::Warn(format!(
            "inference.core = {core}: the system does not let this program choose a processor \
             ({error}), so the inspection will run on any of {allowed:?}; allow the system call with \
             SystemCallFilter=sched_setaffinity in the unit, or leave the field out"
        )),
    }
}

impl<'a> Inference<'a> {
    /// Finds out, and says so in one line.
    pub(super) fn of(config: &'a ValidConfig) -> (Self, Outcome) {
        let without = Self { config, gpu: None, tensorrt: None };
        let gpu = match assets::backend(config) {
            Backend::Cpu => return (without, Outcome::Ok("on the CPU".to_owned())),
            Backend::Ort if cfg!(feature = "ort") => {
                return (without, Outcome::Ok("by onnxruntime".to_owned()));
            }
            Backend::Ort => {
                let text =
                    "this program was built without onnxruntime: set inference.backend to another";
                return (without, Outcome::Fail(text.to_owned()));
            }
            Backend::TensorRt(gpu) | Backend::Auto(gpu) => gpu,
        };
        let found = engine::on_gpu(gpu.library_dir.as_deref());
        let mut this = Self { gpu: Some(gpu), ..without };
        let outcome = match found {
            Ok(tensorrt) => {
                let text = this.on_gpu(&tensorrt);
                this.tensorrt = Some(tensorrt);
                Outcome::Ok(text)
            }
            Err(e) if this.needs_gpu() => Outcome::Fail(e.chain()),
            Err(e) => on_cpu(&e.chain(), engine::nvidia_gpu()),
        };
        (this, outcome)
    }

    /// The arithmetic that the station will compute in.
    pub(super) fn precision(&self) -> Precision {
        let on_gpu = self.tensorrt.is_some() || self.needs_gpu();
        self.gpu.as_ref().filter(|_| on_gpu).map_or(Precision::Fp32, |gpu| gpu.precision)
    }

    fn needs_gpu(&self) -> bool {
        self.config.inference.backend == config::BackendChoice::TensorRt
    }

    /// Library, device, and how it is with the engine for pictures, which is proved.
    fn on_gpu(&self, tensorrt: &TensorRt) -> String {
        let Some(gpu) = &self.gpu else { return String::new() };
        let plan = Bundle::load(&assets::bundle_source(&self.config.engine)).and_then(|bundle| {
            let target = Target::pictures(&bundle, gpu.precision);
            tensorrt.kept(target, &gpu.plans_dir)?;
            plan(tensorrt, target, gpu)
        });
        let device = tensorrt.device().map_or("", |device| &device.name);
        let command = build_command(&self.config.engine, gpu, None);
        let state = pictures(&plan.unwrap_or_else(useless), self.cpu_may_judge(), &command);
        format!("{} on {device} in {}; {state}", tensorrt.version(), gpu.precision)
    }

    /// Whether the CPU judges while there is no engine: it computes in 32 bits only.
    fn cpu_may_judge(&self) -> bool {
        let inference = &self.config.inference;
        inference.serve_while_building && inference.precision == Precision::Fp32
    }

    /// For each camera, whether its frames are read where they lie; nothing unless that is asked for.
    pub(super) fn frames(&self, seen: &[Seen]) -> Vec<Outcome> {
        if !self.config.inference.raw_frames {
            return Vec::new();
        }
        let bundle = self
            .tensorrt
            .as_ref()
            .map(|tensorrt| (tensorrt, Bundle::load(&assets::bundle_source(&self.config.engine))));
        let cameras = self.config.cameras.iter().zip(seen);
        let outcome = |(camera, seen): (&config::Camera, &Seen)| {
            let Some(gpu) = &self.gpu else {
                let text = "inference.raw_frames has no effect without a GPU: remove it, or set \
                            inference.backend";
                return Outcome::Warn(text.to_owned());
            };
            let frames = match readable(camera, &self.config.recipes, seen) {
                Ok(frames) => frames,
                Err(outcome) => return outcome,
            };
            let plan = match &bundle {
                None => Plan::NoGpu,
                Some((_, Err(e))) => Plan::Useless(e.chain()),
                Some((tensorrt, Ok(bundle))) => {
                    let precision = gpu.precision;
                    let target = Target { bundle, precision, frames: Some(&frames) };
                    plan(tensorrt, target, gpu).unwrap_or_else(useless)
                }
            };
            let command = build_command(&self.config.engine, gpu, Some(&frames));
            read_in_place(&frames, &plan, &command)
        };
        cameras.map(outcome).collect()
    }
}

/// Why the CPU runs the model where `auto` may choose; `there` is the GPU that is not used then.
fn on_cpu(why: &str, there: Option<&str>) -> Outcome {
    match there {
        None => Outcome::Ok(format!("on the CPU: {why}")),
        Some(there) => Outcome::Warn(format!(
            "on the CPU, though there is {there}: {why}. For the GPU install TensorRT with its ONNX parser, \
             and let the service see the device files (systemd/jetson.conf or systemd/nvidia.conf as a \
             drop-in); where the CPU is meant, set inference.backend = \"cpu\""
        )),
    }
}

fn useless(e: EngineError) -> Plan {
    Plan::Useless(e.chain())
}

/// # Errors
/// When there is one that cannot be used.
fn plan(tensorrt: &TensorRt, target: Target<'_>, gpu: &Gpu) -> Result<Plan, EngineError> {
    Ok(match tensorrt.plan(target, &gpu.plans_dir)? {
        Some(_) => Plan::There(tensorrt.key(target)?.file(&gpu.plans_dir).display().to_string()),
        None => Plan::Missing,
    })
}

/// How it is with the engine for pictures.
fn pictures(plan: &Plan, cpu_may_judge: bool, command: &str) -> String {
    let meanwhile = match cpu_may_judge {
        true => "the CPU judges until it is there",
        false => "every part is INVALID until it is there",
    };
    let beforehand = format!("`{command}` builds it beforehand");
    match plan {
        Plan::There(file) => format!("the engine is built and proved: {file}"),
        Plan::Missing | Plan::NoGpu => {
            format!("the engine is built at the first start, and {meanwhile}; {beforehand}")
        }
        Plan::Useless(why) => format!(
            "the engine is built anew at the next start, and {meanwhile}; {beforehand}: {why}"
        ),
    }
}

/// The frames that an engine may read, or why the CPU prepares them all the same.
fn readable(
    camera: &config::Camera,
    recipes: &[config::Recipe],
    seen: &Seen,
) -> Result<CameraFrames, Outcome> {
    let on_cpu = |why: &str| format!("the CPU prepares its pictures: {why}");
    if recipes.iter().all(|recipe| !recipe.tiling.is_whole()) {
        return Err(Outcome::Ok(on_cpu("they are seen in tiles")));
    }
    if let CameraSource::V4l2(v4l2) = &camera.source
        && !v4l2.user_memory
    {
        let why = "the GPU does not see the driver's own buffers; set buffers = \"userptr\" in \
                   [camera.v4l2]";
        return Err(Outcome::Warn(on_cpu(why)));
    }
    match seen {
        Seen::Frame(frames) => Ok(*frames),
        Seen::Unreadable => {
            Err(Outcome::Ok(on_cpu("no engine reads compressed, rectified or damaged ones")))
        }
        Seen::Nothing => Err(Outcome::Warn(
            "which engine reads its frames is not known before a picture has come: it is looked for \
             then, or built, and the CPU prepares the pictures until it is there"
                .to_owned(),
        )),
    }
}

/// How it is with the engine for these frames.
fn read_in_place(frames: &CameraFrames, plan: &Plan, command: &str) -> Outcome {
    let beforehand = format!("`{command}` builds it beforehand");
    match plan {
        Plan::There(file) => {
            Outcome::Ok(format!("{frames}: the GPU reads them where they lie, by {file}"))
        }
        Plan::Missing => Outcome::Warn(format!(
            "{frames}: their engine is built while the line runs, which disturbs its timing, and the CPU \
             prepares the pictures until it is there; {beforehand}"
        )),
        Plan::Useless(why) => Outcome::Warn(format!(
            "{frames}: their engine cannot be used and is built anew while the line runs, and the CPU \
             prepares the pictures until it is there; {beforehand}: {why}"
        )),
        Plan::NoGpu => Outcome::Warn(format!(
            "{frames}: not read where they lie, for there is no TensorRT with a GPU here; where there is, \
             {beforehand}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Geometry, PixelFormat};

    #[track_caller]
    fn says(text: &str, words: &[&str]) {
        for word in words {
            assert!(text.contains(word), "{text:?} does not say {word:?}");
        }
    }

    #[test]
    fn a_gpu_that_is_there_and_not_used_is_a_warning_with_cause_and_remedy() {
        let why = "there is no CUDA device that can be used: CUDA_ERROR_NO_DEVICE";
        let Outcome::Warn(text) = on_cpu(why, Some("an NVIDIA Jetson")) else {
            panic!("nobody would learn of it")
        };
        says(&text, &[why, "an NVIDIA Jetson", "jetson.conf", "nvidia.conf", "backend = \"cpu\""]);
        let Outcome::Ok(text) = on_cpu(why, None) else { panic!("there is nothing to mend") };
        says(&text, &["on the CPU", why]);
    }

    #[test]
    fn a_processor_that_must_not_be_chosen_is_a_warning_with_the_remedy() {
        let outcome = |result: fn() -> io::Result<()>| core(3, Ok(vec![2, 3]), result);
        assert!(matches!(outcome(|| Ok(())), Outcome::Ok(_)));
        // What the kernel answers under a filter of system calls.
        let Outcome::Warn(text) = outcome(|| Err(io::Error::from_raw_os_error(1))) else {
            panic!("forbidden is not fine")
        };
        says(&text, &["SystemCallFilter=sched_setaffinity", "not permitted", "[2, 3]"]);
    }

    #[test]
    fn it_is_told_which_engine_runs_the_model_and_who_judges_until_it_is_built() {
        let there = Plan::There("plans/a.plan".to_owned());
        says(&pictures(&there, true, "build it"), &["built and proved", "plans/a.plan"]);
        let damaged = Plan::Useless("its hash does not fit".to_owned());
        for plan in [Plan::Missing, damaged] {
            says(&pictures(&plan, true, "build it"), &["the CPU judges", "`build it`", "start"]);
            says(&pictures(&plan, false, "build it"), &["every part is INVALID", "`build it`"]);
        }
        let damaged = Plan::Useless("its hash does not fit".to_owned());
        says(&pictures(&damaged, true, ""), &["anew", "its hash does not fit"]);
    }

    #[test]
    fn it_is_told_which_engine_reads_the_frames_of_a_camera_and_who_does_until_it_is_built() {
        let frames = CameraFrames {
            format: PixelFormat::BayerRG8,
            width: 1920,
            height: 1200,
            row_bytes: Some(1920),
            geometry: Geometry::WHOLE,
        };
        let there = Plan::There("plans/a.plan".to_owned());
        let Outcome::Ok(text) = read_in_place(&frames, &there, "build it") else {
            panic!("it is there")
        };
        says(&text, &["BayerRG8 1920x1200, the whole picture", "plans/a.plan"]);
        let cannot = Plan::Useless("built for another GPU".to_owned());
        for (plan, words) in [
            (Plan::Missing, ["disturbs", "the CPU prepares"]),
            (cannot, ["built for another GPU", "the CPU prepares"]),
            // What runs the model instead, if anything does, is told in the line of its own.
            (Plan::NoGpu, ["not read where they lie", "no TensorRT with a GPU here"]),
        ] {
            let Outcome::Warn(text) = read_in_place(&frames, &plan, "build it") else {
                panic!("{plan:?} is no reason to be content")
            };
            says(&text, &["BayerRG8 1920x1200", "`build it`"]);
            says(&text, &words);
        }
    }
}
