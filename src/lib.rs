//! `crrd`: an inspection station for the production line.
//!
//! Reading this list top-down is following one frame from the camera to the PLC: the pure core
//! first (no I/O, no clock, no threads), then the shell that feeds it and carries its decisions.
//! `ARCHITECTURE.md` has the map, `tests/tidy.rs` holds the modules to it.

// Core: pure.
pub mod calibrate;
pub mod frame;
pub mod image;
pub mod judge;
pub mod message;
pub mod station;

// Shell: one trait, a real implementation and a replay or scripted one each.
pub mod capture;
pub mod engine;
pub mod journal;
pub mod pipeline;
pub mod publish;
pub mod record;

// Tools around the station.
pub mod cli;
pub mod config;
pub mod demo;
pub mod evaluate;
pub mod sys;
