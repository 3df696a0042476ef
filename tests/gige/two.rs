//! Two cameras at once, each at an address of its own.

use crrd::capture::{Camera as _, Event};
use crrd::frame::{PixelFormat, Pool};

use crate::fake::{Fake, stamp};
use crate::net::alone;
use crate::{BUFFERS, HOME, SIZE, open, settings, sooner_or_later};

/// The second camera.
const OTHER: &str = "10.77.0.2";

#[test]
fn two_cameras_stream_at_once_and_each_loses_nothing() {
    alone(&["10.77.0.2/24"], || {
        let stream = |address: &'static str, serial: &'static str, format: PixelFormat| {
            let bytes = format.row_bytes(SIZE.0 as usize) * SIZE.1 as usize;
            let fake = Fake::start(address, serial, bytes);
            let mut wanted = settings(format);
            wanted.device = address.into();
            let mut camera = open(wanted);
            camera.start(Pool::new(BUFFERS, camera.frame_bytes_max()), 1).unwrap();
            (fake, camera)
        };
        let mut both =
            [stream(HOME, "GV01", PixelFormat::Mono8), stream(OTHER, "GV02", PixelFormat::Rgb8)];
        let mut last = [None; 2];
        for _ in 0..50 {
            for (i, (_, camera)) in both.iter_mut().enumerate() {
                match sooner_or_later(camera, 10) {
                    Event::Frame { trigger, frame } => {
                        let count = stamp(frame.view().unwrap().contiguous().unwrap()).count;
                        assert!(last[i].is_none_or(|last| (trigger.seq, count) == last));
                        last[i] = Some((trigger.seq + 1, count + 1));
                    }
                    other => panic!("camera {i}: {other:?}"),
                }
            }
        }
        both.iter_mut().for_each(|(_, camera)| camera.stop().unwrap());
    });
}
