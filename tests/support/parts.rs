//! What every station of a test or bench needs and no test is about: limits, and a broker that is
//! not there.
// Not every binary that includes this file uses all of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use crrd::calibrate::{Calibration, ClassLimit, FORMAT, certify};
use crrd::frame::{Geometry, Precision, Tiling};
use crrd::pipeline::Broker;
use crrd::publish::{Limits, Version};

/// A calibration of one class, with `limit` for picture and pixel, for the engine of this hash.
pub fn calibration(engine_sha256: &str, class: &str, limit: f32, tiling: Tiling) -> Calibration {
    let scores = vec![limit];
    let bound = certify(&scores, 0.5, 0.5).unwrap();
    let limits = ClassLimit {
        image_threshold: bound.limit,
        pixel_threshold: limit,
        n: 1,
        k: bound.k,
        dataset_sha256: "0".repeat(64),
        scores,
        geometry: Geometry::WHOLE,
        tiling,
    };
    Calibration {
        format: FORMAT,
        engine_sha256: engine_sha256.to_owned(),
        precision: Precision::Fp32,
        created_utc: "2026-01-01T00:00:00Z".to_owned(),
        author: "test".to_owned(),
        reason: "test".to_owned(),
        previous: None,
        alpha: 0.5,
        confidence: 0.5,
        class: [(class.to_owned(), limits)].into(),
    }
}

/// A broker on the discard port: nobody listens there.
pub fn nobody() -> Broker {
    Broker {
        host: "127.0.0.1".to_owned(),
        port: 9,
        version: Version::V3_1_1,
        tls: None,
        prefix: "crr".to_owned(),
        client_id: "test".to_owned(),
        credentials: None,
        keep_alive_s: 5,
        binary: None,
        health_s: 10,
        limits: Limits::default(),
    }
}
