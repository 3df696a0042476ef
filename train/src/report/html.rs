//! The page. Dark text on white, one column as wide as the screen, pictures that shrink with it.

use std::fmt::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::plots::{self, PlotError};
use super::{Case, Curve, Records};
use crate::arch::Scheme;
use crate::survey::sheet;

const STYLE: &str = "\
    body{font:16px/1.5 system-ui,sans-serif;color:#111;background:#fff;margin:0 auto;\
    padding:12px;max-width:760px}\
    h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em;border-top:1px solid #ccc;padding-top:.6em}\
    svg,img{width:100%;height:auto;max-width:100%}\
    table{border-collapse:collapse;width:100%}\
    td,th{text-align:left;padding:3px 10px 3px 0;vertical-align:top;overflow-wrap:anywhere}\
    pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f4f4;padding:8px}\
    .good{color:#006eb4;font-weight:600}.bad{color:#c85000;font-weight:600}";

/// The report as an HTML page.
///
/// # Errors
/// When a plot cannot be drawn.
pub fn page(records: &Records<'_>) -> Result<String, PlotError> {
    let mut out = String::new();
    let manifest = records.manifest;
    let name = escaped(&manifest.name);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{name}: training report</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>{name}: training report</h1>\n"
    );
    summary(&mut out, records);
    losses(&mut out, records)?;
    scores(&mut out, records)?;
    samples(&mut out, records);
    weights(&mut out, records)?;
    data(&mut out, records);
    settings(&mut out, records);
    out.push_str("</body></html>\n");
    Ok(out)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn row(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escaped(name), escaped(value));
}

fn heading(out: &mut String, title: &str, text: &str) {
    let _ = writeln!(out, "<h2>{title}</h2>\n<p>{text}</p>");
}

fn summary(out: &mut String, records: &Records<'_>) {
    let manifest = records.manifest;
    let training = &manifest.training;
    out.push_str("<table>\n");
    row(out, "model", &manifest.model.sha256);
    row(out, "made", &format!("{} by {}", manifest.created_utc, training.program));
    row(out, "method", &format!("{}, preset {}", manifest.method.name, manifest.method.preset));
    let encoder = &manifest.method;
    row(out, "encoder", &format!("{} {:.12}", encoder.encoder, encoder.encoder_sha256));
    row(out, "classes", &manifest.classes.join(", "));
    row(out, "good pictures trained on", &training.images.to_string());
    row(out, "decoder iterations", &training.iterations.to_string());
    row(out, "seed", &training.seed.to_string());
    row(out, "data set", &training.dataset_sha256);
    row(out, "threads", &records.threads.to_string());
    for (what, seconds) in &records.spent_s {
        row(out, what, &format!("{} min {:02.0} s", (seconds / 60.0) as u64, seconds % 60.0));
    }
    row(out, "again", &training.command);
    out.push_str("</table>\n");
    if !records.notes.is_empty() {
        heading(out, "Cut down", "What the program told during the run:");
        let _ = writeln!(out, "<pre>{}</pre>", escaped(&records.notes.join("\n")));
    }
}

fn losses(out: &mut String, records: &Records<'_>) -> Result<(), PlotError> {
    heading(
        out,
        "Losses",
        "They should fall and then stay level. One that still falls at the end would gain from more \
         time; one that jumps about has too few pictures.",
    );
    let both: [(&str, &Curve); 2] = [
        (
            "Decoder: how far the repaired features are from those of the good part",
            records.decoder_loss,
        ),
        ("Segmentation head: how badly it marks the synthetic damage", records.head_loss),
    ];
    for (title, curve) in both {
        let Some((first, last)) = curve.ends() else { continue };
        let _ = writeln!(out, "<p>{title}: from {first:.4} to {last:.4}.</p>");
        out.push_str(&plots::loss(curve)?);
    }
    Ok(())
}

fn scores(out: &mut String, records: &Records<'_>) -> Result<(), PlotError> {
    let classes = &records.manifest.classes;
    heading(
        out,
        "Scores",
        "<span class=\"good\">Good pictures</span> against <span class=\"bad\">the same pictures \
         with synthetic damage</span>. The further apart, the better; real defects may be harder. No \
         picture of a test set was used.",
    );
    for (number, class) in classes.iter().enumerate() {
        let cases: Vec<&Case> =
            records.validation.cases.iter().filter(|case| case.class == number).collect();
        if cases.is_empty() {
            continue;
        }
        let good: Vec<&&Case> = cases.iter().filter(|case| !case.is_damaged).collect();
        let held_out = good.iter().filter(|case| case.is_held_out).count();
        let _ = writeln!(
            out,
            "<h3>{}</h3>\n<p>{} good pictures, of which {held_out} were held out of training; median \
             score {:.4}, of the damaged ones {:.4}.</p>",
            escaped(class),
            good.len(),
            median(&cases, false),
            median(&cases, true)
        );
        out.push_str(&plots::histogram(&cases)?);
    }
    Ok(())
}

fn median(cases: &[&Case], damaged: bool) -> f32 {
    let of = cases.iter().filter(|case| case.is_damaged == damaged);
    let mut scores: Vec<f32> = of.map(|case| case.score).collect();
    scores.sort_by(f32::total_cmp);
    scores.get(scores.len() / 2).copied().unwrap_or(f32::NAN)
}

fn samples(out: &mut String, records: &Records<'_>) {
    heading(
        out,
        "Samples",
        "Damaged picture, what the model finds suspicious, and the true damage outlined in green.",
    );
    for case in &records.validation.cases {
        let Some(png) = &case.overlay else { continue };
        let class = records.manifest.classes.get(case.class).map_or("", String::as_str);
        let _ = writeln!(out, "<p>{}, score {:.4}</p>", escaped(class), case.score);
        picture(out, png, &format!("{class}: damaged picture with map"));
    }
}

fn picture(out: &mut String, png: &[u8], alt: &str) {
    let data = BASE64.encode(png);
    let _ = writeln!(out, "<img alt=\"{}\" src=\"data:image/png;base64,{data}\">", escaped(alt));
}

fn weights(out: &mut String, records: &Records<'_>) -> Result<(), PlotError> {
    let validation = records.validation;
    if validation.tried.is_empty() {
        return Ok(());
    }
    let own = f64::from(records.manifest.method.distance_weight);
    let mean = match records.scheme {
        Scheme::Projected => "geometric mean",
        Scheme::Averaged { .. } => "mean",
    };
    let text = format!(
        "The anomaly map is a {mean}, weighted, of the distance map and of the segmentation head's \
         map. How other weights would do on synthetic damage: <span class=\"good\">image AUROC</span>, \
         <span class=\"bad\">pixel AP</span>, means over the classes. The grey line is the model's own \
         weight; it is a setting and was not chosen here."
    );
    heading(out, "Weight of the two maps", &text);
    out.push_str(&plots::weights(&validation.tried, own)?);
    out.push_str("<table>\n<tr><th>weight</th><th>image AUROC</th><th>pixel AP</th></tr>\n");
    for tried in &validation.tried {
        let _ = writeln!(
            out,
            "<tr><td>{:.1}</td><td>{:.3}</td><td>{:.3}</td></tr>",
            tried.weight, tried.image_auroc, tried.pixel_ap
        );
    }
    out.push_str("</table>\n");
    Ok(())
}

fn data(out: &mut String, records: &Records<'_>) {
    heading(out, "Pictures", "What lay in the data set's folder:");
    let words = records.survey.words(records.data);
    let _ = writeln!(out, "<pre>{}</pre>", escaped(words.trim_end()));
    if records.survey.outliers.is_empty() {
        return;
    }
    if let Ok(png) = sheet(&records.survey.odd_ones()) {
        out.push_str("<p>Good pictures that look unlike the others of their class:</p>\n");
        picture(out, &png, "good pictures unlike the others");
    }
}

fn settings(out: &mut String, records: &Records<'_>) {
    heading(out, "Settings", "All that shaped the run besides data, seed and time:");
    out.push_str("<table>\n");
    for (name, value) in &records.settings {
        row(out, name, value);
    }
    out.push_str("</table>\n");
}
