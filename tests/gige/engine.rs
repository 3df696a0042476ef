//! A whole station on the fake camera: the engine reads the bytes that the library received, where
//! it received them.

use crrd::frame::PixelFormat;

use crate::fake::Fake;
use crate::net::alone;
use crate::support::places::judge;
use crate::{HOME, SIZE, open, settings};

#[test]
fn the_engine_reads_each_picture_where_its_packets_were_received() {
    const PARTS: usize = 40;
    alone(&[], || {
        let _fake = Fake::start(HOME, "GV01", (SIZE.0 * SIZE.1 * 3) as usize);
        let state = tempfile::tempdir().unwrap();
        let camera = Box::new(open(settings(PixelFormat::Rgb8)));
        let seen = judge(camera, SIZE, PARTS, state.path());
        assert!(seen.is_uncopied(), "{:?}\n{:?}", seen.given, seen.read);
        assert!(seen.passed >= PARTS / 2, "{} of {PARTS} passed", seen.passed);
    });
}
