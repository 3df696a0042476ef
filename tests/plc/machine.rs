//! Executes parsed blocks: one instance after another, under a clock that the test moves.

use std::collections::{BTreeSet, HashMap};

use crate::parse::{
    Argument, Block, Expr, Library, Place, Section, Statement, Step, Type, What, parse,
};
use crate::value::{Value, fit, whole, zero};

/// No loop of the shipped sources comes near.
const TURNS_MAX: usize = 10_000;

/// A source file, its clock, and the lines that were executed.
pub(crate) struct Machine {
    library: Library,
    pub(crate) now_ms: i64,
    executed: BTreeSet<usize>,
}

/// The memory of a function block instance.
pub(crate) struct Instance {
    block: String,
    memory: Memory,
}

type Memory = HashMap<String, Value>;

impl Instance {
    pub(crate) fn get(&self, name: &str) -> &Value {
        &self.memory[&name.to_ascii_lowercase()]
    }
}

impl Machine {
    pub(crate) fn new(source: &str) -> Self {
        Self { library: parse(source), now_ms: 0, executed: BTreeSet::new() }
    }

    /// Lines of statements that were never executed.
    pub(crate) fn unexecuted(&self) -> Vec<usize> {
        let mut all = BTreeSet::new();
        self.library.blocks.values().for_each(|block| lines(&block.body, &mut all));
        all.difference(&self.executed).copied().collect()
    }

    pub(crate) fn instance(&self, block: &str) -> Instance {
        let block = block.to_ascii_lowercase();
        let memory = self.fresh(&self.library.blocks[&block]);
        Instance { block, memory }
    }

    /// Calls an instance once; what is not given keeps its value, as in a PLC.
    pub(crate) fn call(&mut self, instance: &mut Instance, inputs: &[(&str, Value)]) {
        let library = std::mem::take(&mut self.library);
        let block = &library.blocks[&instance.block];
        for (name, value) in inputs {
            let place = instance.memory.get_mut(&name.to_ascii_lowercase());
            let place = place.unwrap_or_else(|| panic!("no input {name}"));
            *place = value.clone().stored_as(place);
        }
        let mut run = Run { library: &library, now_ms: self.now_ms, executed: &mut self.executed };
        run.all(&block.body, &mut instance.memory);
        self.library = library;
    }

    fn fresh(&self, block: &Block) -> Memory {
        fresh(block, &self.library)
    }
}

fn lines(statements: &[Statement], all: &mut BTreeSet<usize>) {
    for statement in statements {
        all.insert(statement.line);
        match &statement.what {
            What::Assign(..) | What::Run(..) => {}
            What::If(branches, otherwise) => {
                branches.iter().for_each(|(_, body)| lines(body, all));
                lines(otherwise, all);
            }
            What::Case(_, branches) => branches.iter().for_each(|(_, body)| lines(body, all)),
            What::For(_, _, _, body) | What::While(_, body) => lines(body, all),
        }
    }
}

/// Initial memory of a block.
fn fresh(block: &Block, library: &Library) -> Memory {
    let literal = |expr: &Expr| match expr {
        Expr::Number(_, value) => Value::Literal(*value),
        Expr::Time(ms) => Value::Time(*ms),
        Expr::Bool(value) => Value::Bool(*value),
        other => panic!("an initial value expected, not {other:?}"),
    };
    let variables = block.variables.iter().map(|variable| {
        let mut value = zero(&variable.kind, library);
        match (&mut value, variable.initial.as_slice()) {
            (_, []) => {}
            (Value::Array(_, elements), initial) => {
                assert_eq!(elements.len(), initial.len(), "initial values of {}", variable.name);
                for (element, initial) in elements.iter_mut().zip(initial) {
                    *element = literal(initial).stored_as(element);
                }
            }
            (value, [initial]) => *value = literal(initial).stored_as(value),
            (_, more) => panic!("{} initial values of {}", more.len(), variable.name),
        }
        (variable.name.clone(), value)
    });
    variables.collect()
}

struct Run<'a> {
    library: &'a Library,
    now_ms: i64,
    executed: &'a mut BTreeSet<usize>,
}

impl Run<'_> {
    fn all(&mut self, statements: &[Statement], memory: &mut Memory) {
        for statement in statements {
            self.executed.insert(statement.line);
            self.statement(&statement.what, memory);
        }
    }

    fn statement(&mut self, what: &What, memory: &mut Memory) {
        match what {
            What::Assign(place, expr) => {
                let value = self.value(expr, memory);
                self.store(place, value, memory);
            }
            What::Run(name, arguments) => self.timer(name, arguments, memory),
            What::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.value(condition, memory).bool() {
                        return self.all(body, memory);
                    }
                }
                self.all(otherwise, memory);
            }
            What::Case(selector, branches) => {
                let selected = self.value(selector, memory).number();
                if let Some((_, body)) = branches.iter().find(|(l, _)| l.contains(&selected)) {
                    self.all(body, memory);
                }
            }
            What::For(name, from, to, body) => {
                let counter = Place { name: name.clone(), steps: vec![] };
                let first = self.value(from, memory).number();
                let last = self.value(to, memory).number();
                self.store(&counter, Value::Literal(first), memory);
                for next in first..=last {
                    self.all(body, memory);
                    // It is one beyond the last turn afterwards, on every platform.
                    self.store(&counter, Value::Literal(next + 1), memory);
                }
            }
            What::While(condition, body) => {
                for turn in 0.. {
                    assert!(turn < TURNS_MAX, "a loop without end");
                    if !self.value(condition, memory).bool() {
                        break;
                    }
                    self.all(body, memory);
                }
            }
        }
    }

    /// The only function block that is called from within: an on-delay timer.
    fn timer(&mut self, name: &str, arguments: &[Argument], memory: &mut Memory) {
        let given: Memory = self.named(arguments, memory);
        let (input, Value::Time(preset)) = (given["in"].bool(), &given["pt"]) else {
            panic!("PT of {name} is no TIME");
        };
        match memory.get_mut(name) {
            Some(Value::Timer { since, expired }) => {
                *since = input.then(|| since.unwrap_or(self.now_ms));
                *expired = since.is_some_and(|since| self.now_ms - since >= *preset);
            }
            other => panic!("{name} is no timer but {other:?}"),
        }
    }

    fn named(&mut self, arguments: &[Argument], memory: &mut Memory) -> Memory {
        let named = |a: &Argument| a.name.clone().expect("a named argument");
        arguments.iter().map(|a| (named(a), self.value(&a.value, memory))).collect()
    }

    fn value(&mut self, expr: &Expr, memory: &mut Memory) -> Value {
        match expr {
            Expr::Number(None, value) => Value::Literal(*value),
            Expr::Number(Some(kind), value) => {
                fit(whole(&kind.to_ascii_lowercase()).expect("a known type"), *value)
            }
            Expr::Time(ms) => Value::Time(*ms),
            Expr::Bool(value) => Value::Bool(*value),
            Expr::Place(place) => self.load(place, memory),
            Expr::Call(name, arguments) => self.function(name, arguments, memory),
            Expr::Not(inner) => Value::Bool(!self.value(inner, memory).bool()),
            // Both sides are evaluated, as no platform promises to stop after the first.
            Expr::Two(operator, left, right) => {
                let (left, right) = (self.value(left, memory), self.value(right, memory));
                two(operator, &left, &right)
            }
        }
    }

    fn load(&mut self, place: &Place, memory: &mut Memory) -> Value {
        let steps = self.steps(&place.steps, memory);
        let root = memory.get(&place.name).unwrap_or_else(|| panic!("unknown {}", place.name));
        let found = steps.iter().fold(root, |value, step| match (value, step) {
            (Value::Array(first, elements), Found::Index(index)) => {
                let at = usize::try_from(index - first).ok();
                at.and_then(|at| elements.get(at))
                    .unwrap_or_else(|| panic!("{}[{index}] is outside", place.name))
            }
            (Value::Structure(_), Found::Member(name)) => value.member(name),
            (timer @ Value::Timer { .. }, Found::Member(name)) if name == "q" => timer,
            (value, _) => panic!("no such part of {}: {value:?}", place.name),
        });
        match found {
            Value::Timer { expired, .. } => Value::Bool(*expired),
            value => value.clone(),
        }
    }

    fn store(&mut self, place: &Place, value: Value, memory: &mut Memory) {
        let steps = self.steps(&place.steps, memory);
        let root = memory.get_mut(&place.name).unwrap_or_else(|| panic!("unknown {}", place.name));
        let target = steps.iter().fold(root, |target, step| match (target, step) {
            (Value::Array(first, elements), Found::Index(index)) => {
                let at = usize::try_from(index - *first).ok();
                at.and_then(|at| elements.get_mut(at))
                    .unwrap_or_else(|| panic!("{}[{index}] is outside", place.name))
            }
            (Value::Structure(members), Found::Member(name)) => {
                let found = members.iter_mut().find(|(n, _)| n == name);
                &mut found.unwrap_or_else(|| panic!("no member {name}")).1
            }
            (target, _) => panic!("no such part of {}: {target:?}", place.name),
        });
        *target = value.stored_as(target);
    }

    fn steps(&mut self, steps: &[Step], memory: &mut Memory) -> Vec<Found> {
        let found = steps.iter().map(|step| match step {
            Step::Index(expr) => Found::Index(self.value(expr, memory).number()),
            Step::Member(name) => Found::Member(name.clone()),
        });
        found.collect()
    }

    fn function(&mut self, name: &str, arguments: &[Argument], memory: &mut Memory) -> Value {
        if name == "shr" {
            let [value, count] = arguments else { panic!("SHR takes two arguments") };
            let count = self.value(&count.value, memory).number();
            return match self.value(&value.value, memory) {
                Value::Whole(kind, value) if kind.bits => fit(kind, value >> count),
                other => panic!("SHR of {other:?}"),
            };
        }
        if let Some((from, to)) = name.split_once("_to_") {
            let [argument] = arguments else { panic!("{name} takes one argument") };
            return match self.value(&argument.value, memory) {
                Value::Whole(kind, value) if kind.name == from => {
                    fit(whole(to).expect("a known type"), value)
                }
                other => panic!("{name} of {other:?}"),
            };
        }
        let block = &self.library.blocks[name];
        let Some(Type::Named(result)) = &block.result else { panic!("{name} is no function") };
        let mut given = self.named(arguments, memory);
        let mut inner = fresh(block, self.library);
        inner.insert(name.to_owned(), zero(&Type::Named(result.clone()), self.library));
        for variable in &block.variables {
            if variable.section != Section::Inner {
                let value = given.remove(&variable.name);
                let value = value.unwrap_or_else(|| panic!("{name} without {}", variable.name));
                let place = &inner[&variable.name];
                let value = value.stored_as(place);
                inner.insert(variable.name.clone(), value);
            }
        }
        assert!(given.is_empty(), "{name} has no {:?}", given.keys());
        self.all(&block.body, &mut inner);
        inner.remove(name).expect("the result")
    }
}

enum Found {
    Index(i64),
    Member(String),
}

fn two(operator: &str, left: &Value, right: &Value) -> Value {
    if let (Value::Bool(left), Value::Bool(right)) = (left, right) {
        return Value::Bool(match operator {
            "and" => *left && *right,
            "or" => *left || *right,
            "xor" => left != right,
            _ => panic!("{operator} of BOOL"),
        });
    }
    // A literal takes the type of the other side.
    let kind = match (left, right) {
        (Value::Whole(a, _), Value::Whole(b, _)) => {
            assert_eq!(a, b, "{operator} of {} and {}", a.name, b.name);
            Some(*a)
        }
        (Value::Whole(kind, _), Value::Literal(_)) | (Value::Literal(_), Value::Whole(kind, _)) => {
            Some(*kind)
        }
        (Value::Literal(_), Value::Literal(_)) => None,
        _ => panic!("{operator} of {left:?} and {right:?}"),
    };
    let (a, b) = (left.number(), right.number());
    if let Some(kind) = kind {
        for operand in [a, b] {
            fit(kind, operand);
        }
    }
    let bits = kind.is_some_and(|kind| kind.bits);
    let value = match operator {
        "=" => return Value::Bool(a == b),
        "<>" => return Value::Bool(a != b),
        // S7 orders no bit strings.
        "<" if !bits => return Value::Bool(a < b),
        "<=" if !bits => return Value::Bool(a <= b),
        ">" if !bits => return Value::Bool(a > b),
        ">=" if !bits => return Value::Bool(a >= b),
        "and" if bits => a & b,
        "or" if bits => a | b,
        "xor" if bits => a ^ b,
        "+" if !bits => a + b,
        "-" if !bits => a - b,
        "*" if !bits => a * b,
        "/" if !bits => a / b,
        "mod" if !bits => a % b,
        _ => panic!("{operator} of {left:?} and {right:?}"),
    };
    kind.map_or(Value::Literal(value), |kind| fit(kind, value))
}
