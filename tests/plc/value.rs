//! Values of the subset, stricter than any vendor: what two platforms might treat differently (an
//! overflow, a narrowing, arithmetic on bit strings) is an error.

use crate::parse::{Library, Type};

/// An elementary type other than BOOL and TIME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) name: &'static str,
    pub(crate) least: i64,
    pub(crate) most: i64,
    /// BYTE, WORD: for bits, not for arithmetic.
    pub(crate) bits: bool,
}

pub(crate) const WHOLES: [Whole; 9] = [
    Whole { name: "byte", least: 0, most: 0xff, bits: true },
    Whole { name: "word", least: 0, most: 0xffff, bits: true },
    Whole { name: "dword", least: 0, most: 0xffff_ffff, bits: true },
    Whole { name: "usint", least: 0, most: 0xff, bits: false },
    Whole { name: "uint", least: 0, most: 0xffff, bits: false },
    Whole { name: "udint", least: 0, most: 0xffff_ffff, bits: false },
    Whole { name: "sint", least: -0x80, most: 0x7f, bits: false },
    Whole { name: "int", least: -0x8000, most: 0x7fff, bits: false },
    Whole { name: "dint", least: -0x8000_0000, most: 0x7fff_ffff, bits: false },
];

pub(crate) fn whole(name: &str) -> Option<Whole> {
    WHOLES.into_iter().find(|w| w.name == name)
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Time(i64),
    Whole(Whole, i64),
    /// A literal: takes the type of what it meets.
    Literal(i64),
    /// First index, elements.
    Array(i64, Vec<Value>),
    Structure(Vec<(String, Value)>),
    /// On-delay timer: running since, PT, Q.
    Timer {
        since: Option<i64>,
        expired: bool,
    },
}

impl Value {
    pub(crate) fn bool(&self) -> bool {
        match self {
            Value::Bool(value) => *value,
            other => panic!("a BOOL expected, not {other:?}"),
        }
    }

    pub(crate) fn number(&self) -> i64 {
        match self {
            Value::Whole(_, value) | Value::Literal(value) => *value,
            other => panic!("a number expected, not {other:?}"),
        }
    }

    pub(crate) fn member(&self, name: &str) -> &Value {
        match self {
            Value::Structure(members) => {
                let found = members.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                &found.unwrap_or_else(|| panic!("no member {name}")).1
            }
            other => panic!("{name} of {other:?}"),
        }
    }

    pub(crate) fn elements(&self) -> &[Value] {
        match self {
            Value::Array(_, elements) => elements,
            other => panic!("an array expected, not {other:?}"),
        }
    }

    /// This value as one of the type of `target`.
    pub(crate) fn stored_as(self, target: &Value) -> Value {
        match (target, self) {
            (Value::Whole(kind, _), Value::Literal(value)) => fit(*kind, value),
            (Value::Whole(kind, _), Value::Whole(from, value)) => {
                // Only widening within one kind, which every compiler does silently.
                let widens =
                    from.bits == kind.bits && from.least >= kind.least && from.most <= kind.most;
                assert!(widens, "{} stored as {}", from.name, kind.name);
                fit(*kind, value)
            }
            (Value::Array(first, old), Value::Array(other, new)) => {
                assert!(*first == other && old.len() == new.len(), "arrays of different bounds");
                let new = new.into_iter().zip(old).map(|(n, o)| n.stored_as(o)).collect();
                Value::Array(other, new)
            }
            (Value::Bool(_), value @ Value::Bool(_))
            | (Value::Time(_), value @ Value::Time(_))
            | (Value::Structure(_), value @ Value::Structure(_)) => value,
            (target, value) => panic!("{value:?} stored as {target:?}"),
        }
    }
}

/// # Panics
/// When the value does not fit.
pub(crate) fn fit(kind: Whole, value: i64) -> Value {
    let fits = (kind.least..=kind.most).contains(&value);
    assert!(fits, "{value} does not fit {}", kind.name);
    Value::Whole(kind, value)
}

/// What a variable of this type holds before anything is stored.
pub(crate) fn zero(kind: &Type, library: &Library) -> Value {
    match kind {
        Type::Array(first, last, element) => {
            let count = usize::try_from(last - first + 1).expect("array bounds");
            Value::Array(*first, vec![zero(element, library); count])
        }
        Type::Named(name) => match name.as_str() {
            "bool" => Value::Bool(false),
            "time" => Value::Time(0),
            "ton" | "ton_time" => Value::Timer { since: None, expired: false },
            name => match (whole(name), library.structures.get(name)) {
                (Some(kind), _) => Value::Whole(kind, 0),
                (None, Some(members)) => Value::Structure(
                    members.iter().map(|(n, kind)| (n.clone(), zero(kind, library))).collect(),
                ),
                (None, None) => panic!("unknown type {name}"),
            },
        },
    }
}
