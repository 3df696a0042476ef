//! The live verdict as a fixed record of [`BINARY_BYTES`] bytes, for PLCs that rather copy bytes
//! than read text.
//!
//! The layout is one table, `docs/spec/vbin.md`, which follows; a test holds it to the code.
//!
#![doc = include_str!("../../docs/spec/vbin.md")]

use super::{PAYLOAD_VERSION, VerdictRecord, WireVerdict, decode_verdict};
use crate::frame::PartId;

/// Size of the record.
pub const BINARY_BYTES: usize = 64;

/// First two bytes, "CR": their order tells the order of all numbers.
const MAGIC: u16 = 0x4352;

/// Where each field begins.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 2;
    pub(super) const SIZE: usize = 3;
    pub(super) const SEQ: usize = 4;
    pub(super) const EPOCH: usize = 8;
    pub(super) const TRIGGER: usize = 12;
    pub(super) const PART: usize = 16;
    pub(super) const RECIPE: usize = 32;
    pub(super) const CLASS: usize = 34;
    pub(super) const OUTCOME: usize = 36;
    pub(super) const REASON: usize = 37;
    pub(super) const P_VALUE: usize = 38;
    pub(super) const SCORE: usize = 40;
    pub(super) const LIMIT: usize = 44;
    pub(super) const LATENCY: usize = 48;
    pub(super) const CALIBRATION: usize = 52;
    pub(super) const FLAGS: usize = 56;
    pub(super) const REGIONS: usize = 58;
    pub(super) const RESERVED: usize = 59;
    pub(super) const CRC: usize = 62;
}

/// Order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Most significant first: S7.
    Big,
    /// Least significant first: CODESYS, TwinCAT, Rockwell.
    Little,
}

/// The record of a verdict, written without an allocation.
pub fn encode_binary(record: &VerdictRecord, order: ByteOrder) -> [u8; BINARY_BYTES] {
    // The part id is written from its place: an empty text owns no memory, a copy would.
    write(&WireVerdict::of(record, String::new()), record.part, order)
}

/// The same from the JSON payload of a verdict, whose content it is; `None` when it is none.
pub fn binary_of_payload(payload: &[u8], order: ByteOrder) -> Option<[u8; BINARY_BYTES]> {
    let wire = decode_verdict(payload).ok()?;
    let part = PartId::new(&wire.p).ok()?;
    Some(write(&wire, part, order))
}

fn write(w: &WireVerdict, part: PartId, order: ByteOrder) -> [u8; BINARY_BYTES] {
    let part = part.as_str().as_bytes();
    let mut out = Record { bytes: [0; BINARY_BYTES], order };
    out.put_u16(at::MAGIC, MAGIC);
    out.bytes[at::VERSION] = w.v;
    out.bytes[at::SIZE] = BINARY_BYTES as u8;
    out.put_u32(at::SEQ, w.q);
    out.put_u32(at::EPOCH, w.e);
    out.put_u32(at::TRIGGER, w.t);
    out.bytes[at::PART..at::PART + part.len()].copy_from_slice(part);
    out.put_u16(at::RECIPE, w.r);
    out.put_u16(at::CLASS, w.c);
    out.bytes[at::OUTCOME] = w.o;
    out.bytes[at::REASON] = w.k;
    out.put_u16(at::P_VALUE, w.pv);
    out.put_u32(at::SCORE, w.s.cast_unsigned());
    out.put_u32(at::LIMIT, w.h.cast_unsigned());
    out.put_u32(at::LATENCY, w.l);
    out.put_u32(at::CALIBRATION, w.a);
    out.put_u16(at::FLAGS, w.f);
    out.bytes[at::REGIONS] = w.n;
    out.put_u16(at::CRC, crc16(&out.bytes[..at::CRC]));
    out.bytes
}

/// Why bytes are no verdict record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a verdict record: {0}")]
pub struct BinaryError(Problem);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("{0} bytes instead of 64")]
    Length(usize),
    #[error("it does not begin with 16#4352")]
    Magic,
    #[error("the byte order is the other one: set the station or the reader to {0:?}")]
    Order(ByteOrder),
    #[error("version {0}, this reader knows 1")]
    Version(u8),
    #[error("it states a size of {0} bytes instead of 64")]
    Size(u8),
    #[error("its CRC is 16#{found:04X}, its bytes have 16#{computed:04X}: damaged")]
    Crc { found: u16, computed: u16 },
    #[error("reserved bytes are not zero")]
    Reserved,
    #[error("outcome {0} is none of 0 to 3")]
    Outcome(u8),
    #[error("the part id is not 1 to 16 letters, digits, '-', '_' or '.'")]
    Part,
}

/// Reads a record, the counterpart of [`encode_binary`].
///
/// # Errors
/// When anything about it is not as the encoder writes it; the error says what.
pub fn decode_binary(bytes: &[u8], order: ByteOrder) -> Result<WireVerdict, BinaryError> {
    read(bytes, order).map_err(BinaryError)
}

fn read(bytes: &[u8], order: ByteOrder) -> Result<WireVerdict, Problem> {
    let bytes = bytes.try_into().map_err(|_| Problem::Length(bytes.len()))?;
    let record = Record { bytes, order };
    record.check()?;
    Ok(WireVerdict {
        v: record.bytes[at::VERSION],
        q: record.u32(at::SEQ),
        e: record.u32(at::EPOCH),
        t: record.u32(at::TRIGGER),
        p: record.part().ok_or(Problem::Part)?.as_str().to_owned(),
        r: record.u16(at::RECIPE),
        c: record.u16(at::CLASS),
        o: record.bytes[at::OUTCOME],
        k: record.bytes[at::REASON],
        s: record.u32(at::SCORE).cast_signed(),
        h: record.u32(at::LIMIT).cast_signed(),
        pv: record.u16(at::P_VALUE),
        n: record.bytes[at::REGIONS],
        l: record.u32(at::LATENCY),
        a: record.u32(at::CALIBRATION),
        f: record.u16(at::FLAGS),
    })
}

struct Record {
    bytes: [u8; BINARY_BYTES],
    order: ByteOrder,
}

impl Record {
    fn check(&self) -> Result<(), Problem> {
        match self.u16(at::MAGIC) {
            MAGIC => {}
            swapped if swapped == MAGIC.swap_bytes() => {
                let other = match self.order {
                    ByteOrder::Big => ByteOrder::Little,
                    ByteOrder::Little => ByteOrder::Big,
                };
                return Err(Problem::Order(other));
            }
            _ => return Err(Problem::Magic),
        }
        // Before the CRC: another version may well put it elsewhere.
        if self.bytes[at::VERSION] != PAYLOAD_VERSION {
            return Err(Problem::Version(self.bytes[at::VERSION]));
        }
        if usize::from(self.bytes[at::SIZE]) != BINARY_BYTES {
            return Err(Problem::Size(self.bytes[at::SIZE]));
        }
        let (found, computed) = (self.u16(at::CRC), crc16(&self.bytes[..at::CRC]));
        if found != computed {
            return Err(Problem::Crc { found, computed });
        }
        if self.bytes[at::RESERVED..at::CRC].iter().any(|b| *b != 0) {
            return Err(Problem::Reserved);
        }
        match self.bytes[at::OUTCOME] {
            0..=3 => Ok(()),
            unknown => Err(Problem::Outcome(unknown)),
        }
    }

    fn part(&self) -> Option<PartId> {
        let field = &self.bytes[at::PART..at::PART + PartId::BYTES_MAX];
        let used = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        let (id, rest) = field.split_at(used);
        let filled_up = rest.iter().all(|b| *b == 0);
        std::str::from_utf8(id).ok().and_then(|id| PartId::new(id).ok()).filter(|_| filled_up)
    }

    fn u16(&self, at: usize) -> u16 {
        let field = [self.bytes[at], self.bytes[at + 1]];
        match self.order {
            ByteOrder::Big => u16::from_be_bytes(field),
            ByteOrder::Little => u16::from_le_bytes(field),
        }
    }

    fn u32(&self, at: usize) -> u32 {
        let (first, second) = (u32::from(self.u16(at)), u32::from(self.u16(at + 2)));
        match self.order {
            ByteOrder::Big => first << 16 | second,
            ByteOrder::Little => second << 16 | first,
        }
    }

    fn put_u16(&mut self, at: usize, value: u16) {
        let field = match self.order {
            ByteOrder::Big => value.to_be_bytes(),
            ByteOrder::Little => value.to_le_bytes(),
        };
        self.bytes[at..at + 2].copy_from_slice(&field);
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        let field = match self.order {
            ByteOrder::Big => value.to_be_bytes(),
            ByteOrder::Little => value.to_le_bytes(),
        };
        self.bytes[at..at + 4].copy_from_slice(&field);
    }
}

/// CRC-16/MODBUS. Bit by bit: 62 bytes a verdict are not worth a table.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte), |crc, _| match crc & 1 {
            0 => crc >> 1,
            _ => crc >> 1 ^ 0xa001,
        })
    })
}

#[cfg(test)]
#[path = "binary_tests.rs"]
mod tests;
