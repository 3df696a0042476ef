//! The objects that are used, each with the calls it is used for.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;

use super::monitor::Monitor;
use super::{DELETE, Handle, Library, Object, call, text};
use crate::engine::tensorrt::control::BuildControl;
use crate::engine::{EngineError, EngineErrorKind};

/// `Dims64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Dims {
    len: i32,
    sizes: [i64; 8],
}

impl Dims {
    fn to_vec(self) -> Vec<i64> {
        let len = usize::try_from(self.len).unwrap_or(0).min(self.sizes.len());
        self.sizes[..len].to_vec()
    }
}

/// `DataType`, as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::tensorrt) enum DataType {
    Float,
    Half,
    Uint8,
    Other(i32),
}

impl DataType {
    fn of(number: i32) -> Self {
        match number {
            0 => Self::Float,
            1 => Self::Half,
            5 => Self::Uint8,
            other => Self::Other(other),
        }
    }
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine::tensorrt) struct Tensor {
    pub(in crate::engine::tensorrt) name: String,
    pub(in crate::engine::tensorrt) shape: Vec<i64>,
    pub(in crate::engine::tensorrt) data_type: DataType,
}

/// A parsed model, ready to be built. The fields are freed in their order.
pub(in crate::engine::tensorrt) struct Network {
    parser: Handle,
    network: Handle,
    config: Handle,
    builder: Handle,
    library: Arc<Library>,
}

impl Network {
    /// Parses an ONNX file as a strongly typed network.
    ///
    /// # Errors
    /// `Backend` with the parser's words.
    pub(in crate::engine::tensorrt) fn parse(
        library: &Arc<Library>,
        onnx: &[u8],
    ) -> Result<Self, EngineError> {
        let table = library.table;
        let logger = library.logger.as_ptr();
        let cannot = |what| move || library.failed(what);
        // What an earlier step said is not why this one fails.
        library.logger.take_errors();
        // SAFETY: the logger lives as long as the process, and the number is the library's own.
        let builder = unsafe { (library.create_builder)(logger, library.number) };
        let builder = Handle::new(builder, DELETE).ok_or_else(cannot("cannot make a builder"))?;
        let config = call!(builder, method, table.builder_create_config, () -> *mut Object);
        let config = Handle::new(config, DELETE).ok_or_else(cannot("cannot make its settings"))?;
        let flags = table.strongly_typed;
        let network =
            call!(builder, method, table.builder_create_network, (flags => u32) -> *mut Object);
        let network = Handle::new(network, DELETE).ok_or_else(cannot("cannot make a network"))?;
        // SAFETY: as for the builder; the network is alive.
        let parser = unsafe { (library.create_parser)(network.as_ptr(), logger, library.number) };
        let parser =
            Handle::new(parser, table.parser_delete).ok_or_else(cannot("cannot make a parser"))?;
        let parsed = Self { parser, network, config, builder, library: Arc::clone(library) };
        let good = call!(parsed.parser, own_method, table.parser_parse,
            (onnx.as_ptr().cast() => *const c_void, onnx.len() => usize,
             std::ptr::null() => *const c_char) -> bool);
        if good { Ok(parsed) } else { Err(parsed.unparsed()) }
    }

    fn unparsed(&self) -> EngineError {
        let table = self.library.table;
        let count = call!(self.parser, own_method, table.parser_errors_len, () -> i32);
        let said: Vec<String> = (0..count.clamp(0, 3))
            .filter_map(|index| {
                let error =
                    call!(self.parser, own_method, table.parser_error, (index => i32) -> *mut Object);
                // Owned by the parser: it is not freed here.
                let error = std::mem::ManuallyDrop::new(Handle::new(error, DELETE)?);
                Some(text(call!(error, own_method, table.error_text, () -> *const c_char)))
            })
            .collect();
        // The log repeats it.
        self.library.logger.take_errors();
        EngineError::new(
            EngineErrorKind::Backend,
            format!("{} cannot parse the model: {}", self.library.version(), said.join("; ")),
        )
    }

    /// Inputs and outputs.
    pub(in crate::engine::tensorrt) fn tensors(&self) -> (Vec<Tensor>, Vec<Tensor>) {
        let table = self.library.table;
        let all = |len: usize, get: usize| {
            let count = call!(self.network, method, len, () -> i32);
            (0..count)
                .filter_map(|index| {
                    let tensor = call!(self.network, method, get, (index => i32) -> *mut Object);
                    // Owned by the network.
                    let tensor = std::mem::ManuallyDrop::new(Handle::new(tensor, DELETE)?);
                    Some(Tensor {
                        name: text(call!(tensor, method, table.tensor_name, () -> *const c_char)),
                        shape: call!(tensor, method, table.tensor_dims, () -> Dims).to_vec(),
                        data_type: DataType::of(
                            call!(tensor, method, table.tensor_type, () -> i32),
                        ),
                    })
                })
                .collect()
        };
        (
            all(table.network_inputs_len, table.network_input),
            all(table.network_outputs_len, table.network_output),
        )
    }

    /// Builds the plan. Takes seconds to minutes; `control` is told how it goes, and may end it.
    ///
    /// `workspace_bytes_max` bounds what the engine may use beside its weights. `timings` are what
    /// earlier builds on this device measured; what is known afterwards is answered beside the plan.
    ///
    /// # Errors
    /// `Backend` with the library's words, `Cancelled` when it was ended.
    pub(in crate::engine::tensorrt) fn build(
        &self,
        control: &BuildControl,
        workspace_bytes_max: usize,
        timings: &[u8],
    ) -> Result<(Vec<u8>, Vec<u8>), EngineError> {
        const WORKSPACE: i32 = 0;
        if control.is_cancelled() {
            return Err(cancelled());
        }
        let table = self.library.table;
        // No flag at all: the only one set by default lets FP32 be computed as TF32, and the
        // golden pictures of an FP32 model would not be met.
        call!(self.config, method, table.config_set_flags, (0 => u32) -> ());
        call!(self.config, method, table.config_set_pool,
            (WORKSPACE => i32, workspace_bytes_max => usize) -> ());
        let cache = call!(self.config, method, table.config_create_timing_cache,
            (timings.as_ptr().cast() => *const c_void, timings.len() => usize) -> *mut Object);
        let cache = Handle::new(cache, DELETE);
        if let Some(cache) = &cache {
            // Timings of another device are refused, and measured again.
            call!(self.config, method, table.config_set_timing_cache,
                (cache.as_ptr() => *mut Object, false => bool) -> bool);
        }
        self.library.logger.take_errors();
        let monitor = Monitor::new(control.clone());
        let no_monitor = std::ptr::null_mut::<c_void>();
        call!(self.config, method, table.config_set_progress,
            (monitor.as_ptr() => *mut c_void) -> ());
        let plan = call!(self.builder, method, table.builder_build,
            (self.network.as_ptr() => *mut Object, self.config.as_ptr() => *mut Object)
            -> *mut Object);
        // The settings live longer than the monitor.
        call!(self.config, method, table.config_set_progress, (no_monitor => *mut c_void) -> ());
        control.clear();
        let plan = self.memory(plan).ok_or_else(|| {
            let said = self.library.failed("cannot build an engine of the model");
            if control.is_cancelled() { cancelled() } else { said }
        })?;
        let timings = cache.and_then(|cache| {
            self.memory(call!(cache, method, table.cache_serialize, () -> *mut Object))
        });
        Ok((plan, timings.unwrap_or_default()))
    }

    /// The bytes of an `IHostMemory`, which is freed.
    fn memory(&self, memory: *mut Object) -> Option<Vec<u8>> {
        let table = self.library.table;
        let memory = Handle::new(memory, DELETE)?;
        let data = call!(memory, method, table.memory_data, () -> *const u8);
        let size = call!(memory, method, table.memory_size, () -> usize);
        if data.is_null() {
            return None;
        }
        // SAFETY: the library answers the address and size of memory that lives until the handle
        // is dropped.
        Some(unsafe { std::slice::from_raw_parts(data, size) }.to_vec())
    }
}

fn cancelled() -> EngineError {
    EngineError::new(
        EngineErrorKind::Cancelled,
        "the build was ended before it was done; nothing of it is kept",
    )
}

/// Reads plans. Needs a CUDA device that is in use ([`super::super::cuda`]).
pub(in crate::engine::tensorrt) struct Runtime {
    runtime: Handle,
    library: Arc<Library>,
}

impl Runtime {
    /// # Errors
    /// `Backend` with the library's words.
    pub(in crate::engine::tensorrt) fn new(library: &Arc<Library>) -> Result<Self, EngineError> {
        // SAFETY: as for the builder.
        let runtime = unsafe { (library.create_runtime)(library.logger.as_ptr(), library.number) };
        let runtime =
            Handle::new(runtime, DELETE).ok_or_else(|| library.failed("cannot make a runtime"))?;
        Ok(Self { runtime, library: Arc::clone(library) })
    }

    /// Loads a plan onto the device.
    ///
    /// # Errors
    /// `Backend` with the library's words: built for another device or version, or no driver.
    pub(in crate::engine::tensorrt) fn load(self, plan: &[u8]) -> Result<Engine, EngineError> {
        self.library.logger.take_errors();
        let engine = call!(self.runtime, method, self.library.table.runtime_deserialize,
            (plan.as_ptr().cast() => *const c_void, plan.len() => usize) -> *mut Object);
        let engine = Handle::new(engine, DELETE)
            .ok_or_else(|| self.library.failed("cannot load the engine"))?;
        Ok(Engine { engine, runtime: self })
    }
}

/// A loaded engine.
pub(in crate::engine::tensorrt) struct Engine {
    engine: Handle,
    runtime: Runtime,
}

impl Engine {
    /// Inputs and outputs.
    pub(in crate::engine::tensorrt) fn tensors(&self) -> Vec<Tensor> {
        let table = self.runtime.library.table;
        let count = call!(self.engine, method, table.engine_tensors_len, () -> i32);
        (0..count)
            .map(|index| {
                let name = call!(self.engine, method, table.engine_tensor_name,
                    (index => i32) -> *const c_char);
                let shape = call!(self.engine, method, table.engine_tensor_shape,
                    (name => *const c_char) -> Dims);
                let data_type = call!(self.engine, method, table.engine_tensor_type,
                    (name => *const c_char) -> i32);
                let data_type = DataType::of(data_type);
                Tensor { name: text(name), shape: shape.to_vec(), data_type }
            })
            .collect()
    }

    /// What runs the engine, one thread at a time.
    ///
    /// # Errors
    /// `Backend` with the library's words, out of device memory for one.
    pub(in crate::engine::tensorrt) fn context(self) -> Result<Context, EngineError> {
        const STATIC: i32 = 0;
        let table = self.runtime.library.table;
        let context = call!(self.engine, method, table.engine_create_context,
            (STATIC => i32) -> *mut Object);
        let context = Handle::new(context, DELETE)
            .ok_or_else(|| self.runtime.library.failed("cannot prepare the engine to run"))?;
        Ok(Context { context, engine: self })
    }
}

/// A prepared engine. The context is freed before its engine.
pub(in crate::engine::tensorrt) struct Context {
    context: Handle,
    engine: Engine,
}

// SAFETY: the library allows an engine and its context on any thread, one at a time; all methods
// that change something take `&mut self`.
unsafe impl Send for Context {}

impl Context {
    /// Where a tensor lies: an address that the device can use.
    ///
    /// # Errors
    /// `Backend` when the library refuses it.
    pub(in crate::engine::tensorrt) fn set_address(
        &mut self,
        name: &str,
        address: u64,
    ) -> Result<(), EngineError> {
        let library = &self.engine.runtime.library;
        let c_name = CString::new(name).unwrap_or_default();
        let taken = call!(self.context, method, library.table.context_set_address,
            (CStr::as_ptr(&c_name) => *const c_char, address as *mut c_void => *mut c_void)
            -> bool);
        if taken { Ok(()) } else { Err(library.failed(&format!("refuses the memory of `{name}`"))) }
    }

    /// Puts one run into a stream.
    ///
    /// # Errors
    /// `Backend` with the library's words.
    pub(in crate::engine::tensorrt) fn enqueue(
        &mut self,
        stream: *mut c_void,
    ) -> Result<(), EngineError> {
        let library = &self.engine.runtime.library;
        let good = call!(self.context, method, library.table.context_enqueue,
            (stream => *mut c_void) -> bool);
        if good { Ok(()) } else { Err(library.failed("cannot run the engine")) }
    }
}
