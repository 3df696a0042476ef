use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::verdict::sample as record;
use super::*;
use crate::frame::Nanos;

const ORDERS: [ByteOrder; 2] = [ByteOrder::Big, ByteOrder::Little];

/// What `write` makes of a verdict as it is on the wire.
fn written(wire: &WireVerdict, order: ByteOrder) -> [u8; BINARY_BYTES] {
    write(wire, PartId::new(&wire.p).unwrap(), order)
}

/// `bytes` with these changed and the CRC made to fit again.
fn forged(mut bytes: [u8; BINARY_BYTES], order: ByteOrder, changes: &[(usize, u8)]) -> Vec<u8> {
    changes.iter().for_each(|(at, value)| bytes[*at] = *value);
    let mut record = Record { bytes, order };
    record.put_u16(at::CRC, crc16(&bytes[..at::CRC]));
    record.bytes.to_vec()
}

#[test]
fn the_crc_is_the_well_known_one() {
    assert_eq!(crc16(b"123456789"), 0x4b37);
}

#[test]
fn the_record_is_byte_for_byte_the_documented_one() {
    let hex = |order| {
        let bytes = encode_binary(&record(), order);
        let words = bytes.chunks(4).map(|word| word.iter().map(|b| format!("{b:02x}")).collect());
        words.collect::<Vec<String>>().join(" ")
    };
    assert_eq!(
        hex(ByteOrder::Big),
        "43520140 00000011 00000003 00001267 502d3030 30303137 00000000 00000000 \
         00010002 02060000 000004d3 000007d0 0000007b deadbeef 00000000 0000e450"
    );
    assert_eq!(
        hex(ByteOrder::Little),
        "52430140 11000000 03000000 67120000 502d3030 30303137 00000000 00000000 \
         01000200 02060000 d3040000 d0070000 7b000000 efbeadde 00000000 00000c6c"
    );
}

/// (offset, size) of each key of the table in docs/spec/vbin.md.
fn documented() -> BTreeMap<String, (usize, usize)> {
    let rows = include_str!("../../docs/spec/vbin.md").lines().filter(|l| l.starts_with("| "));
    rows.skip(2)
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(|c| c.trim().trim_matches('`')).collect();
            (cells[4].to_owned(), (cells[1].parse().unwrap(), cells[2].parse().unwrap()))
        })
        .collect()
}

#[test]
fn the_documented_table_leaves_no_byte_out_and_aligns_every_number() {
    let mut places: Vec<_> = documented().into_iter().map(|(key, place)| (place, key)).collect();
    places.sort();
    let mut next = 0;
    for ((offset, bytes), key) in places {
        assert_eq!(offset, next, "{key}");
        let aligned = matches!(key.as_str(), "p" | "reserved") || offset % bytes == 0;
        assert!(aligned, "{key} at {offset} is not aligned");
        next = offset + bytes;
    }
    assert_eq!(next, BINARY_BYTES);
}

#[test]
fn each_field_is_where_the_documented_table_says() {
    let base = WireVerdict { o: 0, p: "0".repeat(16), ..WireVerdict::from(&record()) };
    let b = || base.clone();
    // Each differs from the base in every byte of one field.
    let mut fields: BTreeMap<&str, WireVerdict> = [
        ("v", WireVerdict { v: !base.v, ..b() }),
        ("q", WireVerdict { q: !base.q, ..b() }),
        ("e", WireVerdict { e: !base.e, ..b() }),
        ("t", WireVerdict { t: !base.t, ..b() }),
        ("p", WireVerdict { p: "1".repeat(16), ..b() }),
        ("r", WireVerdict { r: !base.r, ..b() }),
        ("c", WireVerdict { c: !base.c, ..b() }),
        ("o", WireVerdict { o: 3, ..b() }),
        ("k", WireVerdict { k: !base.k, ..b() }),
        ("pv", WireVerdict { pv: !base.pv, ..b() }),
        ("s", WireVerdict { s: !base.s, ..b() }),
        ("h", WireVerdict { h: !base.h, ..b() }),
        ("l", WireVerdict { l: !base.l, ..b() }),
        ("a", WireVerdict { a: !base.a, ..b() }),
        ("f", WireVerdict { f: !base.f, ..b() }),
        ("n", WireVerdict { n: !base.n, ..b() }),
    ]
    .into();
    for (key, (offset, size)) in documented() {
        let Some(other) = fields.remove(&*key) else {
            assert!(matches!(key.as_str(), "magic" | "size" | "reserved" | "crc"), "{key}");
            continue;
        };
        for order in ORDERS {
            let (one, two) = (written(&base, order), written(&other, order));
            let differ: Vec<_> = (0..at::CRC).filter(|i| one[*i] != two[*i]).collect();
            assert_eq!(differ, (offset..offset + size).collect::<Vec<_>>(), "{key} {order:?}");
        }
    }
    assert!(fields.is_empty(), "not in the table: {:?}", fields.keys());
}

#[test]
fn what_is_not_a_record_is_refused_with_the_reason() {
    use Problem::*;
    for order in ORDERS {
        let good = encode_binary(&record(), order);
        let other = match order {
            ByteOrder::Big => ByteOrder::Little,
            ByteOrder::Little => ByteOrder::Big,
        };
        let forged = |changes: &[(usize, u8)]| forged(good, order, changes);
        let table = [
            (vec![], Length(0)),
            (good[..63].to_vec(), Length(63)),
            ([&good[..], &[0]].concat(), Length(65)),
            (vec![0; 64], Magic),
            (encode_binary(&record(), other).to_vec(), Order(other)),
            (forged(&[(at::VERSION, 2)]), Version(2)),
            (forged(&[(at::SIZE, 63)]), Size(63)),
            (forged(&[(at::RESERVED + 1, 1)]), Reserved),
            (forged(&[(at::OUTCOME, 4)]), Outcome(4)),
            (forged(&[(at::PART, 0)]), Part),
            (forged(&[(at::PART, b'/')]), Part),
            (forged(&[(at::PART + 15, b'x')]), Part),
        ];
        for (bytes, problem) in table {
            assert_eq!(decode_binary(&bytes, order), Err(BinaryError(problem)));
        }
        let damaged = decode_binary(&[&good[..63], &[!good[63]]].concat(), order).unwrap_err();
        assert!(damaged.to_string().contains("damaged"), "{damaged}");
    }
}

#[test]
fn only_outcome_1_reads_as_a_pass() {
    for order in ORDERS {
        let good = encode_binary(&record(), order);
        for outcome in 0..=u8::MAX {
            let read = decode_binary(&forged(good, order, &[(at::OUTCOME, outcome)]), order);
            assert_eq!(read.map(|w| w.o).ok(), (outcome <= 3).then_some(outcome));
        }
    }
}

prop_compose! {
    fn any_wire()(
        ids in any::<(u32, u32, u32, u16, u16, u32, u32)>(),
        p in "[A-Za-z0-9_.-]{1,16}",
        (o, k, s, h) in (0..=3u8, any::<u8>(), any::<i32>(), any::<i32>()),
        (pv, n, f) in any::<(u16, u8, u16)>(),
    ) -> WireVerdict {
        let (q, e, t, r, c, l, a) = ids;
        WireVerdict { v: PAYLOAD_VERSION, q, e, t, p, r, c, o, k, s, h, pv, n, l, a, f }
    }
}

proptest! {
    #[test]
    fn every_verdict_reads_back_and_no_flipped_bit_is_taken(wire in any_wire()) {
        for order in ORDERS {
            let good = written(&wire, order);
            prop_assert_eq!(decode_binary(&good, order), Ok(wire.clone()));
            for bit in 0..8 * BINARY_BYTES {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(decode_binary(&bad, order).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn the_record_says_what_the_text_says(
        numbers in (any::<f32>(), any::<f32>(), any::<f32>(), any::<u64>()),
    ) {
        let mut record = record();
        let verdict = &mut record.verdict;
        (verdict.score, verdict.limit, verdict.p_value) = (numbers.0, numbers.1, numbers.2);
        record.latency = Nanos(numbers.3);
        for order in ORDERS {
            let read = decode_binary(&encode_binary(&record, order), order);
            prop_assert_eq!(read, Ok(WireVerdict::from(&record)));
        }
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 60..68)) {
        for order in ORDERS {
            prop_assert!(decode_binary(&bytes, order).is_err());
        }
    }
}
