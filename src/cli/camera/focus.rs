//! `crrd camera focus`: an aid for focus, aperture and light, live on a terminal.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, Result};

use super::session::Session;
use super::which::Which;
use crate::frame::Nanos;
use crate::image::{BINS, Quality, Window, measure};
use crate::sys::clock::{Clock, RealClock};

/// Shortest time between two refreshes of a terminal in milliseconds.
const REFRESH_MS: f64 = 100.0;
/// Characters of the bar of sharpness.
const BAR: usize = 40;
/// More saturated pixels than this share hide defects.
const SATURATED_MAX: f64 = 0.01;
/// Means outside of these leave much of the camera's range unused.
const MEAN_RANGE: std::ops::RangeInclusive<f64> = 40.0..=215.0;

/// Shows sharpness, exposure and a histogram of each picture while you turn the lens
///
/// The bar is full at the best focus seen since the start: turn through it, then back until the bar
/// is full again. Ends with Ctrl-C.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Only this part of the picture counts: X,Y,WIDTH,HEIGHT in pixels
    #[arg(long, value_name = "X,Y,W,H")]
    window: Option<WindowArg>,
    /// End after so many pictures
    #[arg(long, value_name = "N")]
    pictures: Option<u64>,
    /// Longest wait for a picture in seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    wait_s: u64,
}

/// A window as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WindowArg(Window);

impl FromStr for WindowArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        match numbers.as_deref() {
            Ok([x, y, width, height]) => {
                Ok(Self(Window { x: *x, y: *y, width: *width, height: *height }))
            }
            _ => Err("write four whole numbers: X,Y,WIDTH,HEIGHT".to_owned()),
        }
    }
}

/// # Errors
/// When the camera cannot be used, no picture comes, or the window is not in it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut session = Session::open(&args.which.chosen()?)?;
    let mut out = std::io::stdout().lock();
    let live = out.is_terminal();
    let (mut best, mut shown) = (0.0f64, 0u64);
    let mut drawn: Option<Nanos> = None;
    while args.pictures.is_none_or(|n| shown < n) {
        let Some(frame) = session.picture(args.wait_s)? else { break };
        shown += 1;
        let window = args.window.map(|window| window.0);
        let quality = measure(frame.view()?, window).context("the picture cannot be measured")?;
        drop(frame);
        best = best.max(quality.sharpness);
        let now = RealClock.now();
        if live && drawn.is_some_and(|at| now.since(at).as_ms() < REFRESH_MS) {
            continue;
        }
        let text = screen(&quality, best);
        if live && drawn.is_some() {
            // Back to the first line of the last drawing; each line is cleared when it is written.
            write!(out, "\x1b[{}A", text.lines().count())?;
        }
        for line in text.lines() {
            writeln!(out, "{}{line}", if live { "\x1b[2K" } else { "" })?;
        }
        out.flush()?;
        drawn = Some(now);
    }
    Ok(ExitCode::SUCCESS)
}

/// The lines for one picture.
fn screen(quality: &Quality, best: f64) -> String {
    let share = if best > 0.0 { quality.sharpness / best } else { 0.0 };
    let full = (share * BAR as f64).round().clamp(0.0, BAR as f64) as usize;
    format!(
        "sharpness {}{} {:8.3}  {:3.0} % of the best {best:.3}\n\
         exposure  mean {:5.1} of 255, {:.2} % saturated, {:.2} % black  {}\n\
         histogram {}\n",
        "#".repeat(full),
        "-".repeat(BAR - full),
        quality.sharpness,
        share * 100.0,
        quality.mean,
        quality.saturated * 100.0,
        quality.black * 100.0,
        advice(quality),
        histogram(&quality.histogram),
    )
}

/// What to turn.
fn advice(quality: &Quality) -> &'static str {
    if quality.saturated > SATURATED_MAX {
        "too bright: shorten the exposure or close the aperture"
    } else if quality.mean < *MEAN_RANGE.start() {
        "dark: more light, a longer exposure or an open aperture"
    } else if quality.mean > *MEAN_RANGE.end() {
        "bright: shorten the exposure"
    } else {
        "good"
    }
}

/// One character for each bin, the highest as a full block.
fn histogram(shares: &[f64; BINS]) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = shares.iter().copied().fold(0.0, f64::max);
    let level = |share: f64| {
        if highest == 0.0 {
            return LEVELS[0];
        }
        // What is there at all is seen.
        LEVELS[(share / highest * 8.0).ceil().clamp(0.0, 8.0) as usize]
    };
    shares.iter().map(|share| level(*share)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(sharpness: f64, mean: f64, saturated: f64) -> Quality {
        let mut histogram = [0.0; BINS];
        (histogram[3], histogram[60]) = (0.9, 0.1);
        Quality { sharpness, mean, saturated, black: 0.0, histogram }
    }

    #[test]
    fn the_bar_is_full_at_the_best_and_the_words_say_what_to_turn() {
        let best = screen(&quality(8.0, 120.0, 0.0), 8.0);
        assert!(best.contains(&"#".repeat(BAR)) && best.contains("100 % of the best"), "{best}");
        let half = screen(&quality(4.0, 120.0, 0.0), 8.0);
        assert!(half.contains(&format!("{}{}", "#".repeat(20), "-".repeat(20))), "{half}");
        assert!(screen(&quality(0.0, 0.0, 0.0), 0.0).contains(&"-".repeat(BAR)));
        for (mean, saturated, says) in [
            (120.0, 0.0, "good"),
            (120.0, 0.02, "too bright"),
            (20.0, 0.0, "dark"),
            (230.0, 0.0, "bright: shorten"),
        ] {
            assert!(advice(&quality(1.0, mean, saturated)).starts_with(says));
        }
        let lines = best.lines().count();
        assert_eq!(lines, 3);
        let drawn = histogram(&quality(1.0, 1.0, 0.0).histogram);
        assert_eq!(drawn.chars().count(), BINS);
        assert_eq!(drawn.chars().filter(|c| *c != ' ').count(), 2);
    }

    #[test]
    fn a_window_is_four_numbers() {
        let window = Window { x: 1, y: 2, width: 30, height: 40 };
        assert_eq!("1, 2,30,40".parse(), Ok(WindowArg(window)));
        for bad in ["", "1,2,3", "1,2,3,4,5", "1,2,3,-4", "a,b,c,d"] {
            assert!(bad.parse::<WindowArg>().is_err(), "{bad}");
        }
    }
}
