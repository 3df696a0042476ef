//! Structured Text and SCL to a tree: types, functions, function blocks.

use std::collections::HashMap;

use crate::lex::{Token, Word, lex};

/// A type as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// Elementary, a structure or a function block, by its name in lower case.
    Named(String),
    /// First and last index, element.
    Array(i64, i64, Box<Type>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Input,
    Output,
    InOut,
    Inner,
}

#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) section: Section,
    pub(crate) kind: Type,
    /// Initial values: one, or those of an array.
    pub(crate) initial: Vec<Expr>,
}

#[derive(Debug)]
pub(crate) struct Block {
    /// Of a function.
    pub(crate) result: Option<Type>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) body: Vec<Statement>,
}

#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Number(Option<String>, i64),
    Time(i64),
    Bool(bool),
    Place(Place),
    Call(String, Vec<Argument>),
    Not(Box<Expr>),
    Two(&'static str, Box<Expr>, Box<Expr>),
}

/// A variable, an element, a member.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Index(Expr),
    Member(String),
}

/// Named, or by its order.
#[derive(Clone, Debug)]
pub(crate) struct Argument {
    pub(crate) name: Option<String>,
    pub(crate) value: Expr,
}

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) line: usize,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Assign(Place, Expr),
    /// A call of a function block instance.
    Run(String, Vec<Argument>),
    If(Vec<(Expr, Vec<Statement>)>, Vec<Statement>),
    Case(Expr, Vec<(Vec<i64>, Vec<Statement>)>),
    For(String, Expr, Expr, Vec<Statement>),
    While(Expr, Vec<Statement>),
}

/// Everything in a source file.
#[derive(Debug, Default)]
pub(crate) struct Library {
    pub(crate) structures: HashMap<String, Vec<(String, Type)>>,
    pub(crate) blocks: HashMap<String, Block>,
}

/// # Panics
/// With the line, at anything outside the subset.
pub(crate) fn parse(source: &str) -> Library {
    let mut parser = Parser { tokens: lex(source), at: 0 };
    let mut library = Library::default();
    while parser.at < parser.tokens.len() {
        if parser.take("type") {
            let name = parser.name();
            library.structures.insert(name, parser.structure());
            continue;
        }
        let is_function = parser.take("function");
        if !is_function {
            parser.expect("function_block");
        }
        let name = parser.name();
        let block = parser.block(is_function);
        assert!(library.blocks.insert(name.clone(), block).is_none(), "{name} is there twice");
    }
    library
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |t| t.line)
    }

    /// Whether the next word is this keyword or sign.
    fn sees(&self, what: &str) -> bool {
        match self.tokens.get(self.at).map(|t| &t.word) {
            Some(Word::Name(name)) => name == what,
            Some(Word::Sign(sign)) => *sign == what,
            _ => false,
        }
    }

    fn take(&mut self, what: &str) -> bool {
        let seen = self.sees(what);
        self.at += usize::from(seen);
        seen
    }

    #[track_caller]
    fn expect(&mut self, what: &str) {
        let found = self.tokens.get(self.at);
        let (line, found) = (self.line(), found.map(|t| t.word.clone()));
        assert!(self.take(what), "line {line}: {what:?} expected, not {found:?}");
    }

    fn next(&mut self) -> Word {
        self.at += 1;
        self.tokens[self.at - 1].word.clone()
    }

    fn name(&mut self) -> String {
        let line = self.line();
        match self.next() {
            Word::Name(name) => name,
            other => panic!("line {line}: a name expected, not {other:?}"),
        }
    }

    fn number(&mut self) -> i64 {
        let sign = if self.take("-") { -1 } else { 1 };
        match self.next() {
            Word::Number(_, value) => sign * value,
            other => panic!("line {}: a number expected, not {other:?}", self.line()),
        }
    }

    /// `VERSION : 0.1` of TIA.
    fn version(&mut self) {
        if self.take("version") {
            self.expect(":");
            self.number();
            self.expect(".");
            self.number();
        }
    }

    fn structure(&mut self) -> Vec<(String, Type)> {
        self.take(":");
        self.version();
        self.expect("struct");
        let mut members = Vec::new();
        while !self.take("end_struct") {
            let name = self.name();
            self.expect(":");
            members.push((name, self.kind()));
            self.expect(";");
        }
        self.take(";");
        self.expect("end_type");
        members
    }

    fn kind(&mut self) -> Type {
        if !self.take("array") {
            return Type::Named(self.name());
        }
        self.expect("[");
        let first = self.number();
        self.expect("..");
        let last = self.number();
        self.expect("]");
        self.expect("of");
        Type::Array(first, last, Box::new(self.kind()))
    }

    fn block(&mut self, is_function: bool) -> Block {
        let result = self.take(":").then(|| self.kind());
        assert_eq!(result.is_some(), is_function);
        self.version();
        let mut variables = Vec::new();
        loop {
            let section = match () {
                () if self.take("var_input") => Section::Input,
                () if self.take("var_output") => Section::Output,
                () if self.take("var_in_out") => Section::InOut,
                () if self.take("var") || self.take("var_temp") => Section::Inner,
                () => break,
            };
            while !self.take("end_var") {
                variables.push(self.variable(section));
            }
        }
        self.take("begin");
        let end = if is_function { "end_function" } else { "end_function_block" };
        let body = self.statements(&[end]);
        self.expect(end);
        Block { result, variables, body }
    }

    fn variable(&mut self, section: Section) -> Variable {
        let name = self.name();
        self.expect(":");
        let kind = self.kind();
        let mut initial = Vec::new();
        if self.take(":=") {
            if self.take("[") {
                while !self.take("]") {
                    initial.push(self.expression(0));
                    self.take(",");
                }
            } else {
                initial.push(self.expression(0));
            }
        }
        self.expect(";");
        Variable { name, section, kind, initial }
    }

    /// Statements up to one of `ends` or a case label.
    fn statements(&mut self, ends: &[&str]) -> Vec<Statement> {
        let mut list = Vec::new();
        while !ends.iter().any(|end| self.sees(end)) && !self.sees_label() {
            assert!(self.at < self.tokens.len(), "{ends:?} expected, not the end of the file");
            list.push(self.statement());
        }
        list
    }

    fn sees_label(&self) -> bool {
        matches!(self.tokens.get(self.at).map(|t| &t.word), Some(Word::Number(..)))
    }

    fn statement(&mut self) -> Statement {
        let line = self.line();
        let what = match () {
            () if self.take("if") => self.conditional(),
            () if self.take("case") => self.case(),
            () if self.take("for") => self.count(),
            () if self.take("while") => {
                let condition = self.expression(0);
                self.expect("do");
                let body = self.statements(&["end_while"]);
                self.expect("end_while");
                What::While(condition, body)
            }
            () => self.assignment_or_call(),
        };
        self.expect(";");
        Statement { line, what }
    }

    fn conditional(&mut self) -> What {
        let mut branches = Vec::new();
        loop {
            let condition = self.expression(0);
            self.expect("then");
            branches.push((condition, self.statements(&["elsif", "else", "end_if"])));
            if !self.take("elsif") {
                break;
            }
        }
        let otherwise = if self.take("else") { self.statements(&["end_if"]) } else { Vec::new() };
        self.expect("end_if");
        What::If(branches, otherwise)
    }

    fn case(&mut self) -> What {
        let selector = self.expression(0);
        self.expect("of");
        let mut branches = Vec::new();
        while !self.take("end_case") {
            let mut labels = vec![self.number()];
            while self.take(",") {
                labels.push(self.number());
            }
            self.expect(":");
            branches.push((labels, self.statements(&["end_case"])));
        }
        What::Case(selector, branches)
    }

    fn count(&mut self) -> What {
        let name = self.name();
        self.expect(":=");
        let from = self.expression(0);
        self.expect("to");
        let to = self.expression(0);
        self.expect("do");
        let body = self.statements(&["end_for"]);
        self.expect("end_for");
        What::For(name, from, to, body)
    }

    fn assignment_or_call(&mut self) -> What {
        let name = self.name();
        if self.sees("(") {
            return What::Run(name, self.arguments());
        }
        let place = self.place(name);
        self.expect(":=");
        What::Assign(place, self.expression(0))
    }

    fn place(&mut self, name: String) -> Place {
        let mut steps = Vec::new();
        loop {
            if self.take(".") {
                steps.push(Step::Member(self.name()));
            } else if self.take("[") {
                steps.push(Step::Index(self.expression(0)));
                self.expect("]");
            } else {
                return Place { name, steps };
            }
        }
    }

    fn arguments(&mut self) -> Vec<Argument> {
        self.expect("(");
        let mut list = Vec::new();
        while !self.take(")") {
            let named =
                matches!(self.tokens.get(self.at + 1).map(|t| &t.word), Some(Word::Sign(":=")));
            let name = named.then(|| self.name());
            if named {
                self.expect(":=");
            }
            list.push(Argument { name, value: self.expression(0) });
            self.take(",");
        }
        list
    }

    /// Operators that bind at least as strongly as `level`, weakest first.
    fn expression(&mut self, level: usize) -> Expr {
        const LEVELS: [&[&str]; 7] = [
            &["or"],
            &["xor"],
            &["and"],
            &["=", "<>"],
            &["<", "<=", ">", ">="],
            &["+", "-"],
            &["*", "/", "mod"],
        ];
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.expression(level + 1);
        while let Some(operator) = operators.iter().find(|o| self.sees(o)) {
            self.at += 1;
            let right = self.expression(level + 1);
            left = Expr::Two(operator, Box::new(left), Box::new(right));
        }
        left
    }

    fn unary(&mut self) -> Expr {
        if self.take("not") {
            return Expr::Not(Box::new(self.unary()));
        }
        if self.take("-") {
            return match self.unary() {
                Expr::Number(kind, value) => Expr::Number(kind, -value),
                other => panic!("line {}: a minus before {other:?}", self.line()),
            };
        }
        if self.take("(") {
            let inner = self.expression(0);
            self.expect(")");
            return inner;
        }
        match self.next() {
            Word::Number(kind, value) => Expr::Number(kind, value),
            Word::Time(ms) => Expr::Time(ms),
            Word::Name(name) if name == "true" || name == "false" => Expr::Bool(name == "true"),
            Word::Name(name) if self.sees("(") => Expr::Call(name, self.arguments()),
            Word::Name(name) => Expr::Place(self.place(name)),
            other => panic!("line {}: a value expected, not {other:?}", self.line()),
        }
    }
}
