//! Calls into the library: everything unsafe of TensorRT. Above this stands safe code only.
//!
//! What makes the calls sound: the library is one whose layout was counted ([`super::table`]), it is
//! never unloaded, objects are freed in the order that their owners' fields say, and each call gives
//! the very argument types of NVIDIA's header.
#![allow(unsafe_code)]

mod logger;
mod monitor;
mod objects;

use std::ffi::{c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use libloading::os::unix::{Library as Loaded, RTLD_GLOBAL, RTLD_NOW};

use super::table::Table;
use super::version::{Family, Version};
use crate::engine::{EngineError, EngineErrorKind, InUse};
use logger::Logger;
pub(super) use objects::{Context, DataType, Network, Runtime, Tensor};

/// Both libraries by their names: of the engine and of the parser.
struct Names {
    family: Family,
    infer: &'static str,
    parser: &'static str,
}

/// Newest first.
const NAMES: [Names; 3] = [
    Names { family: Family::TensorRt, infer: "libnvinfer.so.11", parser: "libnvonnxparser.so.11" },
    Names { family: Family::TensorRt, infer: "libnvinfer.so.10", parser: "libnvonnxparser.so.10" },
    Names {
        family: Family::Rtx,
        infer: "libtensorrt_rtx.so.1",
        parser: "libtensorrt_onnxparser_rtx.so.1",
    },
];

type Create = unsafe extern "C" fn(*mut c_void, i32) -> *mut Object;
type CreateParser = unsafe extern "C" fn(*mut Object, *mut c_void, i32) -> *mut Object;

/// A C++ object of the library's public interface.
#[repr(C)]
struct Object {
    vtable: *const *const c_void,
    implementation: *mut Implementation,
}

/// What `mImpl` points to.
#[repr(C)]
struct Implementation {
    vtable: *const *const c_void,
}

/// The library, loaded for the life of the process.
pub(super) struct Library {
    version: Version,
    number: i32,
    table: &'static Table,
    /// Leaked: objects of the library point to it, and it is one per process.
    logger: &'static Logger,
    create_builder: Create,
    create_runtime: Create,
    create_parser: CreateParser,
    /// All that calls the library, and each of its objects, holds this value.
    _in_use: InUse,
}

impl Library {
    /// Opens the first library that is there: in `folder`, or where the loader looks.
    ///
    /// # Errors
    /// `Backend` when there is none, when its version is not supported, or when it is damaged.
    pub(super) fn open(folder: Option<&Path>) -> Result<Arc<Self>, EngineError> {
        let mut missing = Vec::new();
        for names in &NAMES {
            let at = |name: &str| folder.map_or_else(|| PathBuf::from(name), |f| f.join(name));
            match load(&at(names.infer)) {
                // The parser is loaded after the library it needs.
                Ok(infer) => {
                    let parser =
                        load(&at(names.parser)).map_err(|e| no_library(names.parser, e))?;
                    return Self::of(names, infer, parser).map(Arc::new);
                }
                Err(e) => missing.push(format!("{}: {e}", names.infer)),
            }
        }
        Err(EngineError::new(
            EngineErrorKind::Backend,
            format!(
                "no TensorRT here ({}): install TensorRT 10 or 11 with its ONNX parser (JetPack has both), name \
                 the folder of its libraries, or use the backend `cpu`",
                missing.join("; ")
            ),
        ))
    }

    fn of(names: &Names, infer: &Loaded, parser: &Loaded) -> Result<Self, EngineError> {
        let damaged = |e| no_library(names.infer, e);
        // SAFETY: the names and types of these entry points are those of NvInfer.h and
        // NvOnnxParser.h; the library is never unloaded, so the pointers stay good.
        let (number, create_builder, create_runtime, create_parser) = unsafe {
            (
                *infer
                    .get::<unsafe extern "C" fn() -> i32>(b"getInferLibVersion\0")
                    .map_err(damaged)?,
                *infer.get::<Create>(b"createInferBuilder_INTERNAL\0").map_err(damaged)?,
                *infer.get::<Create>(b"createInferRuntime_INTERNAL\0").map_err(damaged)?,
                *parser
                    .get::<CreateParser>(b"createNvOnnxParser_INTERNAL\0")
                    .map_err(|e| no_library(names.parser, e))?,
            )
        };
        // SAFETY: takes nothing and answers a number in every version.
        let number = unsafe { number() };
        let version = Version::from_number(names.family, number);
        let table = version.table()?;
        let logger = Box::leak(Logger::new(table.versioned_logger));
        let _in_use = InUse::new();
        Ok(Self {
            version,
            number,
            table,
            logger,
            create_builder,
            create_runtime,
            create_parser,
            _in_use,
        })
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// An error of a step, with what the library said about it.
    fn failed(&self, what: &str) -> EngineError {
        let said = self.logger.take_errors();
        let said = if said.is_empty() { "it does not say why".to_owned() } else { said };
        EngineError::new(EngineErrorKind::Backend, format!("{} {what}: {said}", self.version))
    }
}

/// Never unloaded: a network refers to the parser's code, and engines to the library's.
fn load(path: &Path) -> Result<&'static Loaded, libloading::Error> {
    // SAFETY: NVIDIA's libraries run no initialiser that a caller has to prepare for.
    let library = unsafe { Loaded::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }?;
    Ok(Box::leak(Box::new(library)))
}

fn no_library(name: &str, e: libloading::Error) -> EngineError {
    let what = format!("{name} cannot be used: install TensorRT again, or use the backend `cpu`");
    EngineError::with_source(EngineErrorKind::Backend, what, e)
}

/// An object with its owner's duty to free it.
struct Handle {
    object: NonNull<Object>,
    /// Slot of the destructor that frees, in the object's own vtable.
    delete: usize,
}

/// `D0` of a class whose vtable begins with its destructors.
const DELETE: usize = 1;

impl Handle {
    fn new(object: *mut Object, delete: usize) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, delete })
    }

    fn as_ptr(&self) -> *mut Object {
        self.object.as_ptr()
    }

    /// Where the method of a slot of the implementation stands, and the pointer it is called with.
    ///
    /// # Safety
    /// The slot must be one of the object's class in this version of the library.
    unsafe fn method(&self, slot: usize) -> (*const c_void, *mut c_void) {
        // SAFETY: the object and its implementation are alive as long as the handle; the slot
        // lies within the vtable, says the caller.
        unsafe {
            let implementation = self.object.as_ref().implementation;
            (*(*implementation).vtable.add(slot), implementation.cast())
        }
    }

    /// The same in the object's own vtable.
    ///
    /// # Safety
    /// As [`Self::method`].
    unsafe fn own_method(&self, slot: usize) -> (*const c_void, *mut c_void) {
        // SAFETY: as above.
        unsafe { (*self.object.as_ref().vtable.add(slot), self.object.as_ptr().cast()) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the slot holds the deleting destructor, and the handle is the only owner.
        unsafe {
            let (method, this) = self.own_method(self.delete);
            let delete: extern "C" fn(*mut c_void) = std::mem::transmute(method);
            delete(this);
        }
    }
}

/// Calls a method of an object: `call!(handle, slot, (argument: type, ...) -> type)`.
macro_rules! call {
    ($handle:expr, $find:ident, $slot:expr, ($($arg:expr => $ty:ty),*) -> $ret:ty) => {{
        // SAFETY: slot and types are those of the class in this version (super::table), the
        // object is alive, and pointers among the arguments are good for the time of the call.
        unsafe {
            let (method, this) = $handle.$find($slot);
            let method: extern "C" fn(*mut std::ffi::c_void $(, $ty)*) -> $ret =
                std::mem::transmute(method);
            method(this $(, $arg)*)
        }
    }};
}
use call;

/// A C string of the library, copied.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the library's names and messages are C strings that live as long as their object,
    // which its handle keeps alive for the time of this call.
    unsafe { std::ffi::CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
