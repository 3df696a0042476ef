//! The report's plots, as SVG.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::curve::Curve;
use super::validation::{Case, Tried};

/// Size in pixels before the page scales it; letters stay readable on a phone.
const SIZE: (u32, u32) = (560, 320);
const LETTERS_PX: u32 = 15;
/// Bars of a histogram.
const BINS: usize = 24;
const GOOD: RGBColor = RGBColor(0, 110, 180);
const BAD: RGBColor = RGBColor(200, 80, 0);
const AXIS: RGBColor = RGBColor(32, 32, 32);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A plot that could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("a plot of the report cannot be drawn")]
pub struct PlotError(#[from] DrawingAreaErrorKind<std::io::Error>);

fn svg(draw: impl FnOnce(&Area<'_>) -> Drawn) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(text)
}

/// A range around the values with some room; never empty.
fn range(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = values
        .filter(|v| v.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = 0.05 * (high - low) + 1e-6 * high.abs().max(1e-3);
    low - room..high + room
}

/// A loss over its iterations.
///
/// # Errors
/// When it cannot be drawn.
pub(super) fn loss(curve: &Curve) -> Result<String, PlotError> {
    let points: Vec<(f64, f64)> = curve.points().collect();
    let last = points.last().map_or(1.0, |(at, _)| at * 1.02);
    let losses = range(points.iter().map(|(_, loss)| *loss));
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..last, losses)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("iteration")
            .y_desc("loss")
            .label_style(("sans-serif", LETTERS_PX, &AXIS))
            .draw()?;
        chart.draw_series(LineSeries::new(points, GOOD.stroke_width(2)))?;
        Ok(())
    })
}

/// Scores of good and of damaged pictures of a class.
///
/// # Errors
/// When it cannot be drawn.
pub(super) fn histogram(cases: &[&Case]) -> Result<String, PlotError> {
    let scores = range(cases.iter().map(|case| f64::from(case.score)));
    let width = (scores.end - scores.start) / BINS as f64;
    let counts = |damaged: bool| {
        let mut counts = [0usize; BINS];
        for case in cases.iter().filter(|case| case.is_damaged == damaged && case.score.is_finite())
        {
            let at = ((f64::from(case.score) - scores.start) / width) as usize;
            counts[at.min(BINS - 1)] += 1;
        }
        counts
    };
    let both = [(counts(false), GOOD, 0.0), (counts(true), BAD, 0.5)];
    let most = both.iter().flat_map(|(counts, ..)| counts).copied().max().unwrap_or(0).max(1);
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(48)
            .build_cartesian_2d(scores.clone(), 0.0..most as f64 * 1.05)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_labels(6)
            .x_desc("score")
            .y_desc("pictures")
            .label_style(("sans-serif", LETTERS_PX, &AXIS))
            .draw()?;
        for (counts, colour, shift) in both {
            let bars = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            chart.draw_series(bars.map(|(i, count)| {
                let left = scores.start + (i as f64 + shift) * width;
                let corners = [(left, 0.0), (left + 0.5 * width, *count as f64)];
                Rectangle::new(corners, colour.filled())
            }))?;
        }
        Ok(())
    })
}

/// What another weight of the distance map would give; the model's own is marked.
///
/// # Errors
/// When it cannot be drawn.
pub(super) fn weights(tried: &[Tried], own: f64) -> Result<String, PlotError> {
    let values = tried.iter().flat_map(|t| [t.image_auroc, t.pixel_ap]);
    let values = range(values);
    svg(|area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(-0.02..1.02, values.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("weight of the distance map")
            .label_style(("sans-serif", LETTERS_PX, &AXIS))
            .draw()?;
        let mark = vec![(own, values.start), (own, values.end)];
        chart.draw_series(LineSeries::new(mark, AXIS.mix(0.4).stroke_width(1)))?;
        let image = tried.iter().map(|t| (t.weight, t.image_auroc)).collect::<Vec<_>>();
        let pixel = tried.iter().map(|t| (t.weight, t.pixel_ap)).collect::<Vec<_>>();
        for (points, colour) in [(image, GOOD), (pixel, BAD)] {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?;
        }
        Ok(())
    })
}
