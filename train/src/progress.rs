//! What the user sees of a training run: a bar on a terminal, plain lines elsewhere. A test keeps
//! it instead.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between plain lines: a log of a 22-minute run stays below 150 lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Steps of the bar; the position is progress times this.
const STEPS: u64 = 1000;

enum Shape {
    Bar(ProgressBar),
    Lines { stage: &'static str, last: Instant },
    Kept(Vec<String>),
    Silent,
}

/// Progress of one stage after another.
pub struct Progress(Mutex<Shape>);

/// A moment of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// 0 to 1.
    pub progress: f64,
    /// The loss, where there is one.
    pub loss: Option<f64>,
    /// Pictures per second.
    pub rate: f64,
    /// Seconds spent in this stage.
    pub elapsed_s: f64,
}

impl Moment {
    fn left_s(&self) -> f64 {
        let p = self.progress.clamp(1e-6, 1.0);
        self.elapsed_s * (1.0 - p) / p
    }

    fn text(&self) -> String {
        let loss = self.loss.map_or(String::new(), |l| format!("loss {l:.4}, "));
        let left = self.left_s().round() as u64;
        format!("{loss}{:.1} images/s, {}:{:02} left", self.rate, left / 60, left % 60)
    }
}

impl Progress {
    /// A bar when standard error is a terminal, else lines.
    pub fn visible() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(Mutex::new(Shape::Lines { stage: "", last: Instant::now() }));
        }
        let bar = ProgressBar::new(STEPS);
        let style = ProgressStyle::with_template("{prefix:>9} [{bar:32}] {percent:>3}% {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(Mutex::new(Shape::Bar(bar)))
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self(Mutex::new(Shape::Silent))
    }

    /// Shows nothing and keeps what would stay: the notes, and the stages as `[NAME]`.
    pub fn kept() -> Self {
        Self(Mutex::new(Shape::Kept(Vec::new())))
    }

    /// What was kept so far.
    pub fn lines(&self) -> Vec<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Shape::Kept(lines) => lines.clone(),
            Shape::Bar(_) | Shape::Lines { .. } | Shape::Silent => Vec::new(),
        }
    }

    /// Begins a stage.
    pub fn stage(&self, name: &'static str) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Shape::Bar(bar) => {
                bar.reset();
                bar.set_prefix(name);
                bar.set_message("");
            }
            Shape::Lines { stage, last } => (*stage, *last) = (name, Instant::now()),
            Shape::Kept(lines) => lines.push(format!("[{name}]")),
            Shape::Silent => {}
        }
    }

    /// Shows where the stage is.
    pub fn update(&self, moment: Moment) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Shape::Bar(bar) => {
                bar.set_position((moment.progress.clamp(0.0, 1.0) * STEPS as f64) as u64);
                bar.set_message(moment.text());
            }
            Shape::Lines { stage, last } if last.elapsed() >= LINE_INTERVAL => {
                *last = Instant::now();
                let percent = moment.progress.clamp(0.0, 1.0) * 100.0;
                eprintln!("{stage} {percent:.0} %: {}", moment.text());
            }
            Shape::Lines { .. } | Shape::Kept(_) | Shape::Silent => {}
        }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Shape::Bar(bar) => bar.suspend(|| eprintln!("{text}")),
            Shape::Lines { .. } => eprintln!("{text}"),
            Shape::Kept(lines) => lines.push(text.to_owned()),
            Shape::Silent => {}
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Shape::Bar(bar) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_time_spent() {
        let at = |progress| Moment { progress, loss: Some(0.5), rate: 12.34, elapsed_s: 30.0 };
        assert_eq!(at(0.25).text(), "loss 0.5000, 12.3 images/s, 1:30 left");
        assert_eq!(Moment { loss: None, ..at(1.0) }.text(), "12.3 images/s, 0:00 left");
    }
}
