//! An accepted trigger: the identity a part has before anyone looked at it.

use std::io::Write as _;

use crate::frame::{Nanos, PartId, RecipeId, TriggerId};

/// One accepted trigger. Every one of them ends in exactly one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The camera's own unwrapped frame number; a gap in it is a lost frame.
    pub seq: u64,
    /// The PLC's number, or one the camera counts when no PLC gives any.
    pub id: TriggerId,
    /// The part.
    pub part: PartId,
    /// The recipe, when one is known for this part.
    pub recipe: Option<RecipeId>,
    /// When the trigger was accepted: what the latency is counted from.
    pub arrived: Nanos,
}

impl Trigger {
    /// A trigger that nobody but the camera's own counter knows of: its part is named after it
    /// (`T` and the number), and its recipe is the current one.
    pub fn counted(seq: u64, id: TriggerId, arrived: Nanos) -> Trigger {
        Trigger { seq, id, part: part_of_trigger(id), recipe: None, arrived }
    }

    /// The trigger that `seq`, missing before `self`, must have been. Its part is named after
    /// the trigger (`T` and the number), because nobody saw it.
    pub fn lost(&self, seq: u64) -> Trigger {
        let back = self.seq.saturating_sub(seq);
        // The low 32 bits count with the PLC's wrapping 32-bit number.
        let id = TriggerId(self.id.0.wrapping_sub(back as u32));
        Trigger { seq, id, part: part_of_trigger(id), ..*self }
    }
}

/// Why an accepted trigger has no usable picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The picture came, but cannot be read, is cut short or does not fit its stated size.
    Unreadable,
    /// Every buffer was in use: the line is faster than the inspection.
    NoBuffer,
    /// The camera never delivered the picture.
    Lost,
}

/// The name of a part that nobody saw: `T` and its trigger.
pub fn part_of_trigger(id: TriggerId) -> PartId {
    // 'T' and ten digits at most; on the stack, because this runs on the data path.
    let mut text = [0u8; PartId::BYTES_MAX];
    let mut rest = &mut text[..];
    let room = rest.len();
    let written = write!(rest, "T{}", id.0);
    let used = room - rest.len();
    let name = std::str::from_utf8(&text[..used]);
    match (written, name.map(PartId::new)) {
        (Ok(()), Ok(Ok(part))) => part,
        _ => unreachable!("eleven ASCII characters are a part id"),
    }
}

/// A part id made from a name: the last [`PartId::BYTES_MAX`] characters (the end of a file name
/// tells parts apart better than its start), whatever an id cannot hold replaced by `_`.
pub fn part_id_of(name: &str) -> PartId {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let mut kept: Vec<char> = name
        .chars()
        .rev()
        .take(PartId::BYTES_MAX)
        .map(|c| if legal(c) { c } else { '_' })
        .collect();
    kept.reverse();
    if kept.is_empty() {
        kept.push('_');
    }
    let text: String = kept.into_iter().collect();
    match PartId::new(&text) {
        Ok(id) => id,
        Err(error) => unreachable!("only legal characters are kept: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trigger(seq: u64, id: u32) -> Trigger {
        Trigger {
            seq,
            id: TriggerId(id),
            part: part_id_of("P"),
            recipe: Some(RecipeId(1)),
            arrived: Nanos(5),
        }
    }

    #[test]
    fn a_lost_trigger_is_numbered_back_from_the_one_that_came() {
        let lost = trigger(12, 3).lost(8);
        assert_eq!((lost.seq, lost.id, lost.recipe), (8, TriggerId(u32::MAX), Some(RecipeId(1))));
        assert_eq!(lost.part.as_str(), "T4294967295");
    }

    #[test]
    fn a_trigger_that_only_the_camera_counted_is_named_after_its_number() {
        let counted = Trigger::counted(9, TriggerId(u32::MAX), Nanos(3));
        assert_eq!((counted.seq, counted.part.as_str()), (9, "T4294967295"));
        assert_eq!((counted.recipe, counted.arrived), (None, Nanos(3)));
    }

    #[test]
    fn a_part_id_keeps_the_end_of_the_name() {
        assert_eq!(part_id_of("scratch/a very long name 0017").as_str(), "y_long_name_0017");
        assert_eq!(part_id_of("").as_str(), "_");
    }

    proptest! {
        #[test]
        fn any_name_gives_a_legal_part_id(name in ".*") {
            prop_assert!(PartId::new(part_id_of(&name).as_str()).is_ok());
        }
    }
}
