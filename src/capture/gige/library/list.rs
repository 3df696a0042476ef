//! Which cameras are there, and what features one has.

// The list is global state of a C library.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_uint};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::camera::{Camera, Node};
use super::{Library, told};
use crate::capture::gige::device::{Device as _, DeviceError};
use crate::capture::gige::{FeatureState, Found, Identity, Kind};
use crate::capture::{CameraError, CameraErrorKind};

/// Features of one camera that are listed; the largest have about two thousand.
const FEATURES_MAX: usize = 8192;
/// Categories in categories.
const DEPTH_MAX: usize = 16;

unsafe extern "C" {
    fn arv_get_major_version() -> c_uint;
    fn arv_get_minor_version() -> c_uint;
    fn arv_get_micro_version() -> c_uint;
}

/// The library that was found at the start of the program.
pub(super) fn version() -> (u32, u32, u32) {
    // SAFETY: functions without arguments that return constants; in the library since 0.8.0.
    unsafe { (arv_get_major_version(), arv_get_minor_version(), arv_get_micro_version()) }
}

/// One look at the global list at a time: an update frees the texts of the one before.
static LIST: Mutex<()> = Mutex::new(());

/// A camera in the list and its hardware address.
struct Listed {
    found: Found,
    physical: String,
}

fn list() -> Vec<Listed> {
    let _one_at_a_time = LIST.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the functions take no pointers; the count belongs to the update just made, and the
    // lock keeps other threads of this program from making another one.
    let count = unsafe {
        aravis_sys::arv_update_device_list();
        aravis_sys::arv_get_n_devices()
    };
    let text = |read: unsafe extern "C" fn(c_uint) -> *const c_char, index: c_uint| {
        // SAFETY: `index` is below the count, and the text lives until the next update.
        unsafe {
            let text = read(index);
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    };
    let listed = |index| Listed {
        found: Found {
            id: text(aravis_sys::arv_get_device_id, index),
            vendor: text(aravis_sys::arv_get_device_vendor, index),
            model: text(aravis_sys::arv_get_device_model, index),
            serial: text(aravis_sys::arv_get_device_serial_nbr, index),
            address: text(aravis_sys::arv_get_device_address, index),
            protocol: text(aravis_sys::arv_get_device_protocol, index),
        },
        physical: text(aravis_sys::arv_get_device_physical_id, index),
    };
    (0..count).map(listed).collect()
}

/// Lists the cameras that answer.
pub(in crate::capture::gige) fn discover() -> Result<Vec<Found>, CameraError> {
    Library::new()?;
    Ok(list().into_iter().map(|listed| listed.found).collect())
}

/// The name that the library opens for what the user wrote: an address as it is, without a search;
/// an id or serial number as the id of the one camera that has it; anything else as it is, because
/// the library also knows cameras by the name that the user gave them.
pub(super) fn id_of(name: &str) -> Result<String, DeviceError> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(name.to_owned());
    }
    let is_meant = |listed: &Listed| {
        let found = &listed.found;
        [&found.id, &found.serial, &found.address, &listed.physical].contains(&&name.to_owned())
    };
    let ids: Vec<_> = list().into_iter().filter(is_meant).map(|listed| listed.found.id).collect();
    match &ids[..] {
        [] => Ok(name.to_owned()),
        [id] => Ok(id.clone()),
        several => {
            let several = several.join(", ");
            Err(DeviceError(format!("several cameras have this name: use one of {several}")))
        }
    }
}

/// Who the camera called `name` is.
pub(in crate::capture::gige) fn identify(name: &str) -> Result<Identity, CameraError> {
    Ok(opened(name)?.identity().clone())
}

fn opened(name: &str) -> Result<Camera, CameraError> {
    Library::new()?;
    Camera::open(name).map_err(|error| {
        CameraError::new(CameraErrorKind::Open, format!("camera {name:?}: {error}"))
    })
}

/// All features of a camera, category by category.
pub(in crate::capture::gige) fn features(
    name: &str,
) -> Result<(Identity, Vec<FeatureState>), CameraError> {
    let camera = opened(name)?;
    let mut listing = Listing { camera: &camera, seen: BTreeSet::new(), states: Vec::new() };
    listing.category("Root", 0);
    Ok((camera.identity().clone(), listing.states))
}

struct Listing<'a> {
    camera: &'a Camera,
    seen: BTreeSet<String>,
    states: Vec<FeatureState>,
}

impl Listing<'_> {
    fn category(&mut self, name: &str, depth: usize) {
        let Some(Node::Category(names)) = self.camera.node(name) else { return };
        for name in names {
            if self.seen.len() >= FEATURES_MAX || !self.seen.insert(name.clone()) {
                continue;
            }
            match self.camera.node(&name) {
                Some(Node::Category(_)) if depth < DEPTH_MAX => self.category(&name, depth + 1),
                Some(Node::Feature(kind)) => {
                    let state = self.state(name, kind);
                    self.states.push(state);
                }
                _ => {}
            }
        }
    }

    fn state(&self, name: String, kind: Kind) -> FeatureState {
        let value = (kind != Kind::Command).then(|| self.camera.read(&name).ok()).flatten();
        let number = matches!(kind, Kind::Integer | Kind::Float);
        FeatureState {
            value: value.map(|value| value.to_string()),
            bounds: number.then(|| self.camera.bounds(&name)).flatten(),
            unit: number.then(|| self.camera.unit(&name)).flatten(),
            entries: match kind {
                Kind::Enumeration => self.camera.entries(&name),
                _ => Vec::new(),
            },
            name,
            kind,
        }
    }
}

/// The names of the features in a category.
pub(super) fn names_in(category: &aravis::GcCategory) -> Vec<String> {
    category.features().into_iter().map(|name| name.to_string()).collect()
}

/// The words of an enumeration.
pub(super) fn words(enumeration: &aravis::GcEnumeration) -> Result<Vec<String>, DeviceError> {
    let words = enumeration.dup_available_string_values().map_err(told)?;
    Ok(words.into_iter().map(|word| word.to_string()).collect())
}
