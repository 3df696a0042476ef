//! Shared helpers of the integration tests; include it with `mod support;`.
// Each test binary includes the whole folder and uses its own part of it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod dataset;
pub mod done;
pub mod parts;
pub mod places;
pub mod standin;
