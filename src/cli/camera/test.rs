//! `crrd camera test`: rate, losses and regularity of a camera, and what is wrong in plain words.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::known::Known;
use super::session::Session;
use super::which::Which;
use crate::capture::diagnose::{Finding, Intervals, Measured, Severity, diagnose};
use crate::capture::{Continuity, Damage, Event, FrameNumbers};
use crate::config::Camera;
use crate::frame::{FrameMeta, Nanos};
use crate::sys::clock::{Clock, RealClock};

/// Pause before a lost camera is started again.
const RESTART_PAUSE: Duration = Duration::from_millis(250);
/// Intervals that are kept for the quantile: a quarter of an hour at 1000 a second.
const INTERVALS_MAX: usize = 1_000_000;

/// Measures rate, losses and regularity, and says in plain words what is wrong
///
/// Exit code 0 when no picture is lost, 1 when one is or something will lose them, 2 when the camera
/// cannot be used at all.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// How long, in seconds
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// # Errors
/// When the camera cannot be opened or started.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let chosen = args.which.chosen()?;
    let mut session = Session::open(&chosen)?;
    let mut watch = Watch::new(&chosen.camera);
    watch.follow(&mut session, args.seconds);
    let shape = watch.shape;
    let measured = watch.finish();
    let findings = diagnose(&measured);
    if args.json {
        let (camera, measured) = (chosen.camera.name.as_str(), &measured);
        let report = Report { camera, measured, findings: &findings };
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", text(&measured, shape.as_ref(), &findings));
    }
    let faulty = findings.iter().any(|finding| finding.severity == Severity::Fault);
    Ok(if faulty { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[derive(Serialize)]
struct Report<'a> {
    /// Name of the camera.
    camera: &'a str,
    measured: &'a Measured,
    findings: &'a [Finding],
}

/// Follows a camera and counts.
struct Watch {
    measured: Measured,
    numbers: FrameNumbers,
    /// The newest picture's shape.
    shape: Option<FrameMeta>,
    last: Option<Nanos>,
    intervals_ms: Vec<f64>,
    begun: Nanos,
}

impl Watch {
    fn new(camera: &Camera) -> Self {
        let known = Known::of(&camera.source);
        let measured = Measured {
            triggered: camera.software_trigger || known.triggered,
            rate_hz_wanted: known.rate_hz,
            exposure_us: known.exposure_us,
            link: known.link,
            ..Measured::default()
        };
        let (shape, last, intervals_ms) = (None, None, Vec::new());
        let begun = RealClock.now();
        Self { measured, numbers: FrameNumbers::default(), shape, last, intervals_ms, begun }
    }

    fn follow(&mut self, session: &mut Session, seconds: u64) {
        let end = self.begun.plus_ms(seconds * 1_000);
        while RealClock.now() < end {
            let lost = match session.next() {
                Ok(Event::End) => return,
                Ok(Event::Gone { reason }) => Some(reason),
                Ok(event) => {
                    self.take(event);
                    None
                }
                Err(error) => Some(format!("{error:#}")),
            };
            let Some(reason) = lost else { continue };
            tracing::warn!(reason, "camera lost");
            self.measured.gone += 1;
            self.numbers.restart();
            self.last = None;
            std::thread::sleep(RESTART_PAUSE);
            if let Err(error) = session.start() {
                tracing::warn!("{error:#}");
            }
        }
    }

    fn take(&mut self, event: Event) {
        let trigger = match &event {
            Event::Frame { trigger, .. } | Event::Incomplete { trigger, .. } => *trigger,
            _ => return,
        };
        match self.numbers.observe(trigger.seq) {
            Continuity::InOrder | Continuity::Jump => {}
            Continuity::Gap(missing) => self.measured.lost += missing.end - missing.start,
            Continuity::Stale => {
                self.measured.stale += 1;
                return;
            }
        }
        match event {
            Event::Frame { frame, .. } if frame.view().is_ok() => self.picture(&frame.meta),
            Event::Incomplete { why: Damage::Lost, .. } => self.measured.lost += 1,
            Event::Incomplete { why: Damage::NoBuffer, .. } => self.measured.no_buffer += 1,
            _ => self.measured.damaged += 1,
        }
    }

    fn picture(&mut self, meta: &FrameMeta) {
        let m = &mut self.measured;
        m.frames += 1;
        m.frame_bytes = m.frame_bytes.max(meta.bytes as u64);
        if let Some(exposure) = meta.facts.exposure_us.map(f64::from) {
            m.exposure_us = Some(m.exposure_us.map_or(exposure, |e| e.max(exposure)));
        }
        if let Some(last) = self.last.filter(|_| self.intervals_ms.len() < INTERVALS_MAX) {
            self.intervals_ms.push(meta.arrived.since(last).as_ms());
        }
        self.last = Some(meta.arrived);
        self.shape = Some(*meta);
    }

    fn finish(mut self) -> Measured {
        self.measured.seconds = RealClock.now().since(self.begun).as_ms() / 1_000.0;
        self.measured.intervals = intervals(&mut self.intervals_ms);
        self.measured
    }
}

fn intervals(all_ms: &mut [f64]) -> Option<Intervals> {
    all_ms.sort_by(f64::total_cmp);
    let (first, last) = (all_ms.first()?, all_ms.last()?);
    let rank = (all_ms.len() * 99).div_ceil(100).clamp(1, all_ms.len());
    Some(Intervals {
        mean_ms: all_ms.iter().sum::<f64>() / all_ms.len() as f64,
        min_ms: *first,
        p99_ms: all_ms[rank - 1],
        max_ms: *last,
    })
}

fn text(m: &Measured, shape: Option<&FrameMeta>, findings: &[Finding]) -> String {
    let mut out = format!(
        "measured  {:.1} s: {} pictures, {} lost, {} damaged, {} without a buffer, {} twice; camera \
         lost {} times\n",
        m.seconds, m.frames, m.lost, m.damaged, m.no_buffer, m.stale, m.gone
    );
    if let Some(i) = m.intervals {
        out += &format!(
            "interval  {:.2} ms on average ({:.1} a second), {:.2} to {:.2} ms, 99 of 100 within \
             {:.2} ms\n",
            i.mean_ms,
            1_000.0 / i.mean_ms,
            i.min_ms,
            i.max_ms,
            i.p99_ms
        );
    }
    if let Some(meta) = shape {
        let (width, height, format, bytes) = (meta.width, meta.height, meta.format, meta.bytes);
        out += &format!("picture   {width}x{height} {format}, {bytes} bytes\n");
    }
    for finding in findings {
        let word = match finding.severity {
            Severity::Fault => "FAULT ",
            Severity::Advice => "advice",
        };
        out += &format!("{word}    {}\n          {}\n", finding.what, finding.remedy);
    }
    if findings.is_empty() {
        out += "ok        nothing is wrong\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_list() {
        assert_eq!(intervals(&mut []), None);
        let mut all: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let found = intervals(&mut all).unwrap();
        assert_eq!((found.min_ms, found.max_ms, found.p99_ms), (1.0, 200.0, 198.0));
        assert_eq!(found.mean_ms, 100.5);
    }
}
