//! The one integration binary: each module is one behaviour of the station.

#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod broker;
mod camera;
mod camera_faults;
mod commands;
mod delivery;
mod doctor;
mod faults;
mod fleet;
mod happy;
mod inspect;
mod journal;
mod journal_cost;
mod live_p99;
mod matrix;
mod outage;
mod pki;
mod plc;
mod recording;
mod refused;
mod signs;
mod sparkplug;
mod station;
#[path = "../support/mod.rs"]
mod support;
mod tiles;
mod views;
mod watchdog;
