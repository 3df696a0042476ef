//! The table of an evaluation as text.

use std::fmt::Write;

use super::metrics::{ClassMetrics, Values};

/// One row per class and the mean; a metric that is not defined is `-`.
pub fn table(classes: &[ClassMetrics]) -> String {
    let longest = classes.iter().map(|c| c.class.chars().count()).max().unwrap_or(0).max(5);
    let mut out = String::new();
    let _ = write!(out, "{:longest$}  {:>5} {:>5} {:>5}", "class", "good", "bad", "masks");
    for title in Values::TITLES {
        let _ = write!(out, " {title:>9}");
    }
    out.push('\n');
    for c in classes {
        let _ = write!(out, "{:longest$}  {:>5} {:>5} {:>5}", c.class, c.good, c.bad, c.masks);
        row(&mut out, &c.values);
    }
    let _ = write!(out, "{:longest$}  {:>5} {:>5} {:>5}", "mean", "", "", "");
    row(&mut out, &Values::mean(classes));
    out
}

fn row(out: &mut String, values: &Values) {
    for value in values.columns() {
        let _ = match value {
            Some(v) => write!(out, " {v:>9.3}"),
            None => write!(out, " {:>9}", "-"),
        };
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_shows_what_is_missing() {
        let class = |name: &str, px: Option<f64>| ClassMetrics {
            class: name.to_owned(),
            good: 10,
            bad: 5,
            masks: 0,
            pixel_f1_threshold: None,
            values: Values { image_auroc: Some(0.5), pixel_auroc: px, ..Values::default() },
        };
        let text = table(&[class("bolt", Some(0.75)), class("a_long_class_name", None)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines.iter().all(|l| l.len() == lines[0].len()), "{text}");
        assert!(lines[1].contains("0.750") && lines[2].matches('-').count() >= 7, "{text}");
        assert!(lines[3].starts_with("mean") && lines[3].contains("0.500"), "{text}");
    }
}
