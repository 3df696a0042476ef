//! The tags that SCADA sees: names, aliases, datatypes, units, and where each value comes from.
//!
//! Names and aliases are a promise to whoever built displays on them: add, never renumber.
//! `docs/integrator.md` has the same table; a test holds the two together.

use super::payload::{DataType, Metric, PropertySet, PropertyValue, Value};
use super::types::{Part, Settings, Status};

/// Number of the session, in births and deaths of the node.
pub(super) const BD_SEQ: &str = "bdSeq";
/// The one command a host may give; never with an alias.
pub(super) const REBIRTH: &str = "Node Control/Rebirth";
/// Key of the unit among a metric's properties, as the large hosts read it.
const UNIT_KEY: &str = "engUnit";

/// One tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Definition {
    pub(crate) alias: u64,
    pub(crate) name: &'static str,
    pub(crate) datatype: DataType,
    /// Unit; empty = none.
    pub(crate) unit: &'static str,
    /// A number that changes with every part: told at intervals.
    pub(super) slow: bool,
}

const fn tag(alias: u64, name: &'static str, datatype: DataType) -> Definition {
    Definition { alias, name, datatype, unit: "", slow: false }
}

const fn count(alias: u64, name: &'static str) -> Definition {
    Definition { alias, name, datatype: DataType::Int64, unit: "", slow: true }
}

const fn measured(alias: u64, name: &'static str, unit: &'static str) -> Definition {
    Definition { alias, name, datatype: DataType::Float, unit, slow: false }
}

/// Tags of the edge node: the station.
pub(crate) const NODE: [Definition; 18] = [
    tag(1, "Station/Ready", DataType::Boolean),
    tag(2, "Station/State", DataType::String),
    tag(3, "Station/Missing", DataType::String),
    tag(4, "Station/Mode", DataType::String),
    tag(5, "Station/Recipe", DataType::Int32),
    tag(6, "Station/Epoch", DataType::Int64),
    tag(7, "Station/Calibration", DataType::String),
    tag(8, "Station/Engine SHA-256", DataType::String),
    tag(9, "Station/Version", DataType::String),
    count(10, "Counters/Parts"),
    count(11, "Counters/Pass"),
    count(12, "Counters/Reject"),
    count(13, "Counters/Invalid"),
    count(14, "Counters/Test"),
    count(15, "Counters/Late"),
    count(16, "Counters/Missed Triggers"),
    count(17, "Mirror/Parts Dropped"),
    count(18, "Mirror/Commands Refused"),
];

/// Tags of the device: the newest part in front of the camera.
pub(crate) const DEVICE: [Definition; 16] = [
    tag(101, "Part/Id", DataType::String),
    tag(102, "Part/Trigger", DataType::Int64),
    tag(103, "Part/Recipe", DataType::Int32),
    tag(104, "Part/Class", DataType::String),
    tag(105, "Part/Epoch", DataType::Int64),
    tag(106, "Part/Sequence", DataType::Int64),
    tag(107, "Part/Calibration", DataType::String),
    tag(108, "Verdict/Outcome", DataType::String),
    tag(109, "Verdict/Outcome Code", DataType::Int32),
    tag(110, "Verdict/Reason", DataType::String),
    tag(111, "Verdict/Reason Code", DataType::Int32),
    tag(112, "Verdict/Score", DataType::Float),
    tag(113, "Verdict/Limit", DataType::Float),
    tag(114, "Verdict/P Value", DataType::Float),
    tag(115, "Verdict/Regions", DataType::Int32),
    measured(116, "Verdict/Latency", "ms"),
];

/// Values in the order of their definitions; `None` = there is none.
pub(super) type Values<const N: usize> = [Option<Value>; N];

/// What the mirror counts about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) dropped: u64,
    pub(super) refused: u64,
}

fn text(value: &str) -> Option<Value> {
    Some(Value::Text(value.to_owned()))
}

fn long(value: u64) -> Option<Value> {
    Some(Value::Long(value))
}

fn int(value: u32) -> Option<Value> {
    Some(Value::Int(value))
}

/// Protobuf could carry NaN; a display cannot.
fn number(value: f32) -> Option<Value> {
    value.is_finite().then_some(Value::Float(value))
}

pub(super) fn node_values(
    settings: &Settings,
    status: &Status,
    tally: Tally,
) -> Values<{ NODE.len() }> {
    let c = &status.counters;
    [
        Some(Value::Boolean(status.ready)),
        text(status.state),
        text(status.missing),
        text(status.mode),
        status.recipe.and_then(|recipe| int(recipe.into())),
        long(status.epoch.into()),
        text(&format!("{:08x}", status.calibration)),
        text(&settings.engine_sha256),
        text(&settings.version),
        long(c.parts),
        long(c.pass),
        long(c.reject),
        long(c.invalid),
        long(c.test),
        long(c.late),
        long(status.missed),
        long(tally.dropped),
        long(tally.refused),
    ]
}

/// All `None` before the first part.
pub(super) fn device_values(settings: &Settings, part: Option<&Part>) -> Values<{ DEVICE.len() }> {
    let Some(Part { record, .. }) = part else { return [const { None }; DEVICE.len()] };
    let verdict = &record.verdict;
    let class = settings.classes.get(usize::from(record.class));
    [
        text(record.part.as_str()),
        long(record.trigger.0.into()),
        int(record.recipe.0.into()),
        class.and_then(|class| text(class)),
        long(record.epoch.into()),
        long(record.seq.into()),
        text(&format!("{:08x}", record.calibration.0)),
        text(&format!("{:?}", verdict.outcome())),
        int(verdict.outcome() as u32),
        text(&format!("{:?}", verdict.reason)),
        int(verdict.reason as u32),
        number(verdict.score),
        number(verdict.limit),
        // There is no p-value without a score; 0 stands for none in the record.
        number(verdict.p_value).filter(|_| verdict.score.is_finite()),
        int(verdict.regions.found.into()),
        number(record.latency.as_ms() as f32),
    ]
}

/// A metric as a birth announces it.
pub(super) fn born(definition: &Definition, value: Option<Value>, at_unix_ms: u64) -> Metric {
    let unit = (!definition.unit.is_empty()).then(|| PropertySet {
        keys: vec![UNIT_KEY.to_owned()],
        values: vec![PropertyValue {
            datatype: Some(DataType::String as u32),
            text: Some(definition.unit.to_owned()),
        }],
    });
    Metric {
        name: Some(definition.name.to_owned()),
        datatype: Some(definition.datatype as u32),
        properties: unit,
        ..told(definition, value, at_unix_ms)
    }
}

/// A metric as data carries it: alias, time and value.
pub(super) fn told(definition: &Definition, value: Option<Value>, at_unix_ms: u64) -> Metric {
    Metric {
        alias: Some(definition.alias),
        timestamp: Some(at_unix_ms),
        is_null: value.is_none().then_some(true),
        value,
        ..Metric::default()
    }
}

/// A metric that births carry by name alone.
pub(super) fn named(name: &str, datatype: DataType, value: Value, at_unix_ms: u64) -> Metric {
    Metric {
        name: Some(name.to_owned()),
        timestamp: Some(at_unix_ms),
        datatype: Some(datatype as u32),
        value: Some(value),
        ..Metric::default()
    }
}
