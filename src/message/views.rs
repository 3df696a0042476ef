//! What the views of a part said, where several cameras look at it.
//!
//! The live payloads stay what they are with one camera: score, limit, class, areas and mask are
//! those of the view that decided, and its number stands in the flags. All views are in the
//! journal's record.

use std::fmt::Write as _;

use super::push_json_text;
use super::verdict::FLAG_VIEW_SHIFT;
use crate::frame::VIEWS_MAX;
use crate::judge::{Outcome, Reason};

/// What one view was found to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewResult {
    /// What it says of the part.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// Number of the class it was held against, or [`super::CLASS_NONE`].
    pub class: u16,
    /// Image score; NaN when there is none.
    pub score: f32,
    /// The limit of that class; NaN when there is none.
    pub limit: f32,
}

/// The views of a part, in the order of the cameras; all `None` with one camera, and where a view
/// was not looked at.
pub type ViewResults = [Option<ViewResult>; VIEWS_MAX];

/// The flags that name the view (counted from 0) which decided.
pub fn view_flags(view: usize) -> u16 {
    u16::try_from(view + 1).map_or(0, |number| number << FLAG_VIEW_SHIFT)
}

/// The view (counted from 0) that the flags name; `None` with one camera.
pub fn deciding_view(flags: u16) -> Option<usize> {
    usize::from(flags >> FLAG_VIEW_SHIFT).checked_sub(1)
}

/// Appends `,"view":NAME,"views":[...]`; nothing with one camera.
pub(super) fn push_views(out: &mut String, names: &[String], flags: u16, results: &ViewResults) {
    let Some(deciding) = deciding_view(flags).and_then(|view| names.get(view)) else { return };
    out.push_str(",\"view\":");
    push_json_text(out, deciding);
    out.push_str(",\"views\":[");
    let looked_at = names.iter().zip(results).filter_map(|(name, result)| Some((name, (*result)?)));
    for (i, (name, result)) in looked_at.enumerate() {
        out.push_str(if i == 0 { "{\"view\":" } else { ",{\"view\":" });
        push_json_text(out, name);
        let ViewResult { outcome, reason, class, .. } = result;
        // Writing to a String cannot fail.
        let _ = write!(out, ",\"o\":{},\"k\":{},\"c\":{class}", outcome as u8, reason as u8);
        super::detail::float(out, "score", result.score);
        super::detail::float(out, "limit", result.limit);
        out.push('}');
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::FLAG_LATE;

    #[test]
    fn the_flags_name_the_view_and_leave_the_others_alone() {
        assert_eq!(deciding_view(0), None);
        assert_eq!(deciding_view(FLAG_LATE), None);
        for view in 0..VIEWS_MAX {
            let flags = view_flags(view) | FLAG_LATE;
            assert_eq!((deciding_view(flags), flags & FLAG_LATE), (Some(view), FLAG_LATE));
        }
    }

    #[test]
    fn every_view_that_was_looked_at_is_told_with_its_score_and_limit() {
        let names = ["top", "side", "end"].map(str::to_owned);
        let mut results = ViewResults::default();
        let seen =
            |outcome, reason, score| ViewResult { outcome, reason, class: 2, score, limit: 0.5 };
        results[0] = Some(seen(Outcome::Pass, Reason::None, 0.25));
        results[2] = Some(seen(Outcome::Invalid, Reason::FrameDamaged, f32::NAN));
        let mut out = String::new();
        push_views(&mut out, &names, view_flags(2), &results);
        assert_eq!(
            out,
            r#","view":"end","views":[{"view":"top","o":1,"k":0,"c":2,"score":0.25,"limit":0.5},{"view":"end","o":2,"k":8,"c":2,"score":null,"limit":0.5}]"#
        );
        let mut out = String::new();
        push_views(&mut out, &names[..1], 0, &ViewResults::default());
        assert_eq!(out, "", "one camera: nothing to tell");
    }
}
