//! The fake camera of libaravis, with pictures that say which they are.

// A callback into this program, given to a C library.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use aravis::glib::translate::ToGlibPtr as _;

/// Bytes at the start of a picture: its count and the exposure time it was made with.
const STAMP_BYTES: usize = 12;

/// A running camera; it is switched off when dropped.
pub(crate) struct Fake {
    camera: Option<aravis::GvFakeCamera>,
    film: Box<Film>,
}

/// What its pictures show.
struct Film {
    /// Pictures made.
    made: AtomicU64,
    /// Bytes of a picture.
    bytes: usize,
    /// Pictures shown in turn; with none, each shows its stamp.
    pictures: Mutex<Vec<Vec<u8>>>,
}

/// What a stamped picture says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Count from 0.
    pub(crate) count: u64,
    /// Exposure time in microseconds.
    pub(crate) exposure_us: u32,
}

/// Reads the stamp, and makes sure that the rest of the picture belongs to it.
pub(crate) fn stamp(picture: &[u8]) -> Stamp {
    let count = u64::from_le_bytes(picture[..8].try_into().unwrap());
    let exposure_us = u32::from_le_bytes(picture[8..STAMP_BYTES].try_into().unwrap());
    assert!(picture[STAMP_BYTES..].iter().all(|b| *b == count as u8), "one picture, not two");
    Stamp { count, exposure_us }
}

impl Fake {
    /// A camera at `address` whose pictures have `bytes` bytes and say which they are.
    pub(crate) fn start(address: &str, serial: &str, bytes: usize) -> Self {
        Self::with(address, serial, bytes, Vec::new())
    }

    /// A camera that shows `pictures` in turn.
    pub(crate) fn with(address: &str, serial: &str, bytes: usize, pictures: Vec<Vec<u8>>) -> Self {
        assert!(pictures.iter().all(|picture| picture.len() == bytes));
        let pictures = Mutex::new(pictures);
        let film = Box::new(Film { made: AtomicU64::new(0), bytes, pictures });
        let mut fake = Self { camera: None, film };
        fake.switch_on(address, serial);
        fake
    }

    /// Its own counter goes on; its settings are those of a camera that was just made.
    pub(crate) fn switch_on(&mut self, address: &str, serial: &str) {
        let camera = aravis::GvFakeCamera::new(Some(address), Some(serial));
        assert!(camera.is_running(), "the fake camera runs");
        let device = camera.fake_camera().unwrap();
        let film = std::ptr::from_ref(&*self.film).cast_mut().cast::<c_void>();
        // SAFETY: the film is boxed and outlives the camera: `drop` switches the camera off first,
        // and it is reached through a shared reference only.
        unsafe {
            aravis_sys::arv_fake_camera_set_fill_pattern(device.to_glib_none().0, Some(show), film);
        }
        self.camera = Some(camera);
    }

    /// Like pulling its plug.
    pub(crate) fn switch_off(&mut self) {
        self.camera = None;
    }

    /// Pictures made so far.
    pub(crate) fn made(&self) -> u64 {
        self.film.made.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.switch_off();
    }
}

unsafe extern "C" fn show(
    buffer: *mut aravis_sys::ArvBuffer,
    film: *mut c_void,
    exposure_us: u32,
    _gain: u32,
    _format: u32,
) {
    // SAFETY: `film` is the one given with this function, alive while the camera runs. The camera
    // owns `buffer` and made it for a picture of the size it is set to; no more than the size of
    // the test is written, and only when the two agree.
    unsafe {
        let film = &*film.cast::<Film>();
        let mut received = 0;
        let data = aravis_sys::arv_buffer_get_data(buffer, &mut received);
        let picture = std::slice::from_raw_parts_mut(data, film.bytes);
        let count = film.made.fetch_add(1, Ordering::SeqCst);
        let pictures = film.pictures.lock().unwrap();
        match pictures.len() {
            0 => {
                picture.fill(count as u8);
                picture[..8].copy_from_slice(&count.to_le_bytes());
                picture[8..STAMP_BYTES].copy_from_slice(&exposure_us.to_le_bytes());
            }
            all => picture.copy_from_slice(&pictures[count as usize % all]),
        }
    }
}
