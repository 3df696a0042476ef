//! The Sparkplug B payload: the protobuf messages as far as an edge node writes or reads them.
//!
//! Field numbers are those of the public `sparkplug_b.proto`. Templates, data sets, metadata and
//! bodies are not written, and skipped when a host sends them.

use prost::Message;

/// A whole message.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Payload {
    /// UTC in milliseconds at which it was sent.
    #[prost(uint64, optional, tag = "1")]
    pub(crate) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) seq: Option<u64>,
}

/// One tag and its value.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    /// In births; data carries the alias alone.
    #[prost(string, optional, tag = "1")]
    pub(crate) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) alias: Option<u64>,
    /// UTC in milliseconds at which the value was acquired.
    #[prost(uint64, optional, tag = "3")]
    pub(crate) timestamp: Option<u64>,
    /// A [`DataType`], in births only.
    #[prost(uint32, optional, tag = "4")]
    pub(crate) datatype: Option<u32>,
    /// The value is for the history, not for the tag as it is now.
    #[prost(bool, optional, tag = "5")]
    pub(crate) is_historical: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(crate) is_null: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub(crate) properties: Option<PropertySet>,
    #[prost(oneof = "Value", tags = "10, 11, 12, 13, 14, 15")]
    pub(crate) value: Option<Value>,
}

/// What a metric or a property holds.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Value {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    Text(String),
}

/// Properties of a metric, such as its unit: as many keys as values.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(crate) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) values: Vec<PropertyValue>,
}

/// The text of one property; other kinds are not written.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PropertyValue {
    /// A [`DataType`].
    #[prost(uint32, optional, tag = "1")]
    pub(crate) datatype: Option<u32>,
    #[prost(string, optional, tag = "8")]
    pub(crate) text: Option<String>,
}

/// The datatypes in use.
///
/// Hosts disagree on the field that carries a UInt32 (`int_value` by the text of the
/// specification, `long_value` in the Tahu libraries), and those on a JVM have no unsigned 64-bit
/// integer: so none of the unsigned types is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataType {
    Int32 = 3,
    Int64 = 4,
    Float = 9,
    Boolean = 11,
    String = 12,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_public_schema() {
        let metric = Metric {
            name: Some("n".into()),
            alias: Some(5),
            timestamp: Some(6),
            datatype: Some(DataType::Float as u32),
            is_historical: Some(true),
            is_null: None,
            properties: Some(PropertySet {
                keys: vec!["k".into()],
                values: vec![PropertyValue { datatype: Some(12), text: Some("v".into()) }],
            }),
            value: Some(Value::Float(1.0)),
        };
        let payload = Payload { timestamp: Some(1), metrics: vec![metric], seq: Some(3) };
        // Tag and wire type by hand: (field << 3) | type, 0 varint, 2 length, 5 four bytes.
        #[rustfmt::skip]
        let bytes = [
            0x08, 1,
            0x12, 28,
                0x0a, 1, b'n',
                0x10, 5,
                0x18, 6,
                0x20, 9,
                0x28, 1,
                0x4a, 10,
                    0x0a, 1, b'k',
                    0x12, 5, 0x08, 12, 0x42, 1, b'v',
                0x65, 0, 0, 0x80, 0x3f,
            0x18, 3,
        ];
        assert_eq!(payload.encode_to_vec(), bytes);
        assert_eq!(Payload::decode(&bytes[..]).unwrap(), payload);
        let values = [
            (Value::Int(7), vec![0x50, 7]),
            (Value::Long(7), vec![0x58, 7]),
            (Value::Double(1.0), vec![0x69, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
            (Value::Boolean(true), vec![0x70, 1]),
            (Value::Text("t".into()), vec![0x7a, 1, b't']),
        ];
        for (value, bytes) in values {
            let metric = Metric { value: Some(value), ..Metric::default() };
            assert_eq!(metric.encode_to_vec(), bytes);
        }
    }

    #[test]
    fn what_this_station_does_not_know_is_skipped_not_refused() {
        // A data set (17) and a template (18) inside a metric, a body (5) beside it.
        let bytes = [0x12, 8, 0x8a, 1, 0, 0x92, 1, 0, 0x10, 9, 0x2a, 1, 0xff];
        let payload = Payload::decode(&bytes[..]).unwrap();
        assert_eq!(payload.metrics, [Metric { alias: Some(9), ..Metric::default() }]);
        for broken in [&bytes[..5], b"{\"json\":1}", &[0xff; 40]] {
            assert!(Payload::decode(broken).is_err(), "{broken:?}");
        }
    }
}
