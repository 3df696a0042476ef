//! A reader for the few pickle opcodes that PyTorch's legacy weight files use.
//!
//! It builds data only: the globals it accepts are `OrderedDict`, `_rebuild_tensor_v2` and the
//! storage type names, and calling anything else is an error, so no code in a file can run.
//! Values live in one arena and refer to each other by number: a hostile file can neither nest
//! deeply enough to exhaust the stack nor share enough to grow beyond its own size.

use std::collections::BTreeMap;

/// Number of a value in the arena.
pub(super) type Id = usize;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// An integer too long for `Int`: only ever a magic number.
    Long(Vec<u8>),
    Str(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// `persistent_load(tuple)`.
    Persistent(Id),
    /// `_rebuild_tensor_v2(tuple)`.
    Tensor(Id),
}

/// The names a file may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    /// A storage class with this many bytes a value; `true` when the values are `f32`.
    Storage {
        bytes: usize,
        float: bool,
    },
}

/// One unpickled value with the arena it lives in.
pub(super) struct Pickle {
    nodes: Vec<Node>,
    root: Id,
}

impl Pickle {
    pub(super) fn root(&self) -> &Node {
        self.get(self.root)
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::None)
    }

    pub(super) fn int(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Node::Int(v) => usize::try_from(*v).ok(),
            _ => None,
        }
    }

    pub(super) fn str(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Node::Str(s) => Some(s),
            _ => None,
        }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn ints(&self, id: Id) -> Option<Vec<usize>> {
        self.tuple(id)?.iter().map(|i| self.int(*i)).collect()
    }
}

/// Reads one pickle from the front of `input`, which then starts behind it.
pub(super) fn unpickle(input: &mut &[u8]) -> Result<Pickle, String> {
    let mut machine =
        Machine { input, nodes: vec![], stack: vec![], marks: vec![], memo: BTreeMap::new() };
    let root = loop {
        if let Some(root) = machine.step()? {
            break root;
        }
    };
    let Machine { input: rest, nodes, .. } = machine;
    *input = rest;
    Ok(Pickle { nodes, root })
}

struct Machine<'a> {
    input: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Executes one opcode; the root value at `STOP`.
    fn step(&mut self) -> Result<Option<Id>, String> {
        match self.byte()? {
            0x80 => drop(self.byte()?),                // PROTO
            b'.' => return self.pop().map(Some),       // STOP
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'N' => self.push(Node::None),             // NONE
            0x88 => self.push(Node::Bool(true)),       // NEWTRUE
            0x89 => self.push(Node::Bool(false)),      // NEWFALSE
            b'K' => self.integer(1)?,                  // BININT1
            b'M' => self.integer(2)?,                  // BININT2
            b'J' => self.integer(4)?,                  // BININT
            0x8a => self.long()?,                      // LONG1
            b'X' => self.string()?,                    // BINUNICODE
            b')' => self.push(Node::Tuple(vec![])),    // EMPTY_TUPLE
            0x85 => self.tuple_of(1)?,                 // TUPLE1
            0x86 => self.tuple_of(2)?,                 // TUPLE2
            0x87 => self.tuple_of(3)?,                 // TUPLE3
            b't' => {
                let items = self.pop_mark()?; // TUPLE
                self.push(Node::Tuple(items));
            }
            b']' => self.push(Node::List(vec![])), // EMPTY_LIST
            b'}' => self.push(Node::Dict(vec![])), // EMPTY_DICT
            b'a' => {
                let item = self.pop()?; // APPEND
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?; // APPENDS
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?; // SETITEM
                let key = self.pop()?;
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?; // SETITEMS
                self.insert(&items)?;
            }
            b'q' => {
                let key = self.byte()?; // BINPUT
                self.remember(u32::from(key))?;
            }
            b'r' => {
                let key = self.u32()?; // LONG_BINPUT
                self.remember(key)?;
            }
            b'h' => {
                let key = self.byte()?; // BINGET
                self.recall(u32::from(key))?;
            }
            b'j' => {
                let key = self.u32()?; // LONG_BINGET
                self.recall(key)?;
            }
            b'c' => self.global()?, // GLOBAL
            b'Q' => {
                let id = self.pop()?; // BINPERSID
                self.push(Node::Persistent(id));
            }
            b'R' => self.reduce()?, // REDUCE
            b'b' => {
                self.pop()?; // BUILD: attributes of the dictionary (`_metadata`), not needed
                self.top()?;
            }
            op => return Err(format!("pickle opcode {op:#04x} is not accepted")),
        }
        Ok(None)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.input.split_at_checked(count).ok_or("pickle is cut off")?;
        self.input = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, String> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = self.input.iter().position(|b| *b == b'\n').ok_or("pickle is cut off")?;
        let text = std::str::from_utf8(self.take(end)?).map_err(|_| "a name is not UTF-8")?;
        self.take(1)?;
        Ok(text)
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn pop(&mut self) -> Result<Id, String> {
        // Nothing below the last mark may be taken.
        let floor = self.marks.last().copied().unwrap_or(0);
        let id = self.stack.pop().filter(|_| self.stack.len() >= floor);
        id.ok_or_else(|| "pickle stack is empty".to_owned())
    }

    fn top(&self) -> Result<Id, String> {
        self.stack.last().copied().ok_or_else(|| "pickle stack is empty".to_owned())
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().filter(|m| *m <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("pickle has no mark")?))
    }

    fn integer(&mut self, bytes: usize) -> Result<(), String> {
        let mut wide = [0; 8];
        let raw = self.take(bytes)?;
        wide[..bytes].copy_from_slice(raw);
        let value = i64::from_le_bytes(wide);
        // Only the four-byte form is signed.
        let value = if bytes == 4 { i64::from(value as u32 as i32) } else { value };
        self.push(Node::Int(value));
        Ok(())
    }

    fn long(&mut self) -> Result<(), String> {
        let count = usize::from(self.byte()?);
        let raw = self.take(count)?;
        if count > 8 {
            self.push(Node::Long(raw.to_vec()));
            return Ok(());
        }
        let negative = raw.last().is_some_and(|b| b & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..count].copy_from_slice(raw);
        self.push(Node::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        let count = self.u32()? as usize;
        let raw = self.take(count)?;
        let text = std::str::from_utf8(raw).map_err(|_| "a string is not UTF-8")?;
        self.push(Node::Str(text.to_owned()));
        Ok(())
    }

    fn tuple_of(&mut self, count: usize) -> Result<(), String> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend(items),
            _ => return Err("appending to what is no list".to_owned()),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|kv| (kv[0], kv[1])));
            }
            _ => return Err("setting items of what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn remember(&mut self, key: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or("pickle recalls what it never stored")?;
        self.stack.push(id);
        Ok(())
    }

    fn global(&mut self) -> Result<(), String> {
        let (module, name) = (self.line()?, self.line()?);
        let global = match (module, name) {
            ("collections", "OrderedDict") => Global::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
            ("torch", "FloatStorage") => Global::Storage { bytes: 4, float: true },
            ("torch", "LongStorage") => Global::Storage { bytes: 8, float: false },
            _ => {
                // The name may be anything; show a bounded, printable part of it.
                let shown: String = format!("{module}.{name}").escape_debug().take(80).collect();
                return Err(format!("the file wants to call `{shown}`; only tensors are accepted"));
            }
        };
        self.push(Node::Global(global));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let empty = matches!(&self.nodes[arguments], Node::Tuple(items) if items.is_empty());
        match self.nodes[callable] {
            Node::Global(Global::OrderedDict) if empty => self.push(Node::Dict(vec![])),
            Node::Global(Global::RebuildTensor) => self.push(Node::Tensor(arguments)),
            _ => return Err("the file calls what is no tensor".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Pickle, String> {
        unpickle(&mut &bytes[..])
    }

    #[test]
    fn values_of_all_accepted_kinds_are_read() {
        // pickle.dumps({"a": (1, 300, -2), "b": [True, None]}, protocol=2)
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01M\x2c\x01J\xfe\xff\xff\xff\x87q\x02X\x01\x00\x00\x00bq\x03]q\x04(\x88Neu.";
        let p = read(bytes).unwrap();
        let Node::Dict(items) = p.root() else { panic!("{:?}", p.root()) };
        assert_eq!(p.str(items[0].0), Some("a"));
        let numbers: Vec<_> = p.tuple(items[0].1).unwrap().iter().map(|i| p.get(*i)).collect();
        assert_eq!(numbers, [&Node::Int(1), &Node::Int(300), &Node::Int(-2)]);
        let Node::List(list) = p.get(items[1].1) else { panic!() };
        assert_eq!((p.get(list[0]), p.get(list[1])), (&Node::Bool(true), &Node::None));
    }

    #[test]
    fn a_file_that_wants_to_run_code_is_refused_by_name() {
        // pickle.dumps of an object whose __reduce__ is (os.system, ("id",))
        let bytes = b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.";
        assert!(read(bytes).err().unwrap().contains("posix.system"));
    }

    #[test]
    fn a_file_cannot_reach_below_its_mark_or_recall_the_unknown() {
        for bytes in [&b"K\x01(\x85."[..], b"h\x05.", b"t.", b".", b"K\x01K\x02s.", b""] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let mut bytes = vec![b')'];
        bytes.extend(std::iter::repeat_n(0x85, 1_000_000));
        bytes.push(b'.');
        assert_eq!(read(&bytes).unwrap().nodes.len(), 1_000_001);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = read(&bytes);
        }

        #[test]
        fn any_sequence_of_accepted_opcodes_is_read_or_refused_without_a_panic(
            bytes in proptest::collection::vec(
                proptest::sample::select(&b"(N\x88K\x01)\x85\x86\x87t]}aesuq\x00h\x00QRb."[..]), 0..200)
        ) {
            let _ = read(&bytes);
        }
    }
}
