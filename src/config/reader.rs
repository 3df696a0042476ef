//! Reads a TOML table field by field, notes every problem and every field that was asked for.
//!
//! Serde would stop at the first problem; an integrator wants all of them. Whatever was not
//! asked for when a section is finished is an unknown field.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problem::Problem;
use super::values::{collect_numbers, integer, nearest, number};

/// Longest value repeated in a message, in characters.
const VALUE_SHOWN_CHARS: usize = 60;

/// The text, its problems and its fields.
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    text: &'a str,
    problems: RefCell<Vec<Problem>>,
    lines: RefCell<BTreeMap<String, usize>>,
    asked: RefCell<Vec<(String, String)>>,
}

/// What a [`Report`] leaves behind.
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    /// Line of each field that is there.
    pub(super) lines: BTreeMap<String, usize>,
    /// Every field asked for and its default as text.
    #[cfg(test)]
    pub(super) asked: Vec<(String, String)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self {
            file,
            text,
            problems: RefCell::default(),
            lines: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    pub(super) fn finish(self) -> Findings {
        Findings {
            problems: self.problems.into_inner(),
            lines: self.lines.into_inner(),
            #[cfg(test)]
            asked: self.asked.into_inner(),
        }
    }

    /// Notes a problem at a place in the text (a syntax error has no field).
    pub(super) fn add(
        &self,
        span: Option<Range<usize>>,
        field: &str,
        value: Option<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.problems.borrow_mut().push(Problem {
            file: self.file.to_owned(),
            line: span.map(|s| self.line(s.start)),
            field: field.to_owned(),
            value,
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    fn line(&self, offset: usize) -> usize {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        before.iter().filter(|b| **b == b'\n').count() + 1
    }

    fn shown(&self, span: Range<usize>) -> String {
        let value = self.text.get(span).unwrap_or_default().trim();
        match value.char_indices().nth(VALUE_SHOWN_CHARS) {
            Some((cut, _)) => format!("{} ...", &value[..cut]),
            None => value.to_owned(),
        }
    }
}

/// One table of the file; absent tables read as empty.
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    path: String,
    table: Option<&'a DeTable<'a>>,
    span: Option<Range<usize>>,
    names: RefCell<Vec<&'static str>>,
}

/// A value that is there, with its place for later messages.
pub(super) struct Found<'a, T> {
    pub(super) value: T,
    field: String,
    span: Range<usize>,
    report: &'a Report<'a>,
}

/// An entry of a table whose keys are the user's own.
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) found: Found<'a, Scalar<'a>>,
}

/// A single value of any type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(&'a str),
    Boolean(bool),
    Integer(i64),
    Number(f64),
}

impl<'a, T> Found<'a, T> {
    /// Notes that the value is refused.
    pub(super) fn refuse(&self, what: impl Into<String>, remedy: impl Into<String>) {
        let shown = self.report.shown(self.span.clone());
        self.report.add(Some(self.span.clone()), &self.field, Some(shown), what, remedy);
    }

    fn with<U>(self, value: U) -> Found<'a, U> {
        Found { value, field: self.field, span: self.span, report: self.report }
    }
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn root(report: &'a Report<'a>, table: &'a DeTable<'a>) -> Self {
        Self {
            report,
            path: String::new(),
            table: Some(table),
            span: None,
            names: RefCell::default(),
        }
    }

    /// The table `[name]`, empty when absent.
    pub(super) fn section(&self, name: &'static str) -> Section<'a> {
        self.names.borrow_mut().push(name);
        let found = self.lookup(name, "a table", |v| v.as_table());
        let (table, span) = found.map(|f| (f.value, f.span)).unzip();
        Section {
            report: self.report,
            path: self.join(name),
            table,
            span,
            names: RefCell::default(),
        }
    }

    /// The table `[name]` (empty when absent), or each of the tables `[[name]]`.
    pub(super) fn one_or_more(&self, name: &'static str) -> Vec<Section<'a>> {
        let is_list = |item: &Spanned<DeValue<'_>>| item.get_ref().is_array();
        let many = self.table.and_then(|table| table.get(name)).is_some_and(is_list);
        if many { self.sections(name) } else { vec![self.section(name)] }
    }

    /// The texts of the table `name`, by their keys; none when absent.
    pub(super) fn texts(&self, name: &'static str) -> Vec<(&'a str, Found<'a, &'a str>)> {
        self.ask(name, "none");
        let Some(found) = self.lookup(name, "a table of texts", |v| v.as_table()) else {
            return Vec::new();
        };
        let inner = Section {
            report: self.report,
            path: self.join(name),
            table: Some(found.value),
            span: Some(found.span),
            names: RefCell::default(),
        };
        let keys = found.value.keys().map(|key| -> &'a str { key.get_ref() });
        keys.filter_map(|key| Some((key, inner.lookup(key, "a text in quotes", |v| v.as_str())?)))
            .collect()
    }

    /// The tables `[[name]]`, none when absent.
    pub(super) fn sections(&self, name: &'static str) -> Vec<Section<'a>> {
        self.names.borrow_mut().push(name);
        let Some(found) = self.lookup(name, "a list of tables", |v| v.as_array()) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (i, item) in found.value.iter().enumerate() {
            let path = format!("{}[{i}]", self.join(name));
            let span = item.span();
            match item.get_ref().as_table() {
                Some(table) => sections.push(Section {
                    report: self.report,
                    path,
                    table: Some(table),
                    span: Some(span),
                    names: RefCell::default(),
                }),
                None => {
                    let shown = Some(self.report.shown(span.clone()));
                    let remedy = format!("write each as a [[{name}]] table");
                    self.report.add(Some(span), &path, shown, "not a table", remedy);
                }
            }
        }
        sections
    }

    /// Text, when there.
    pub(super) fn text(&self, name: &'static str, default: &str) -> Option<Found<'a, &'a str>> {
        self.ask(name, default);
        self.lookup(name, "a text in quotes", |v| v.as_str())
    }

    /// A text that was asked for already, with its place; none when it is absent or no text.
    pub(super) fn found_text(&self, name: &'static str) -> Option<Found<'a, &'a str>> {
        let is_text = self.table?.get(name)?.get_ref().is_str();
        if is_text { self.lookup(name, "a text in quotes", |v| v.as_str()) } else { None }
    }

    /// Text that must be there.
    pub(super) fn text_required(
        &self,
        name: &'static str,
        remedy: &str,
    ) -> Option<Found<'a, &'a str>> {
        let found = self.text(name, "required");
        if !self.has(name) {
            self.missing(name, remedy);
        }
        found
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &'static str,
        words: &[(&'static str, T)],
        default: usize,
    ) -> T {
        let (default_word, default) = words[default];
        let Some(found) = self.text(name, &format!("\"{default_word}\"")) else { return default };
        match words.iter().find(|(word, _)| *word == found.value) {
            Some((_, value)) => *value,
            None => {
                let list: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                found.refuse("not one of the known words", format!("use {}", list.join(" or ")));
                default
            }
        }
    }

    /// Yes or no.
    pub(super) fn boolean(&self, name: &'static str, default: bool) -> bool {
        self.ask(name, &default.to_string());
        self.lookup(name, "true or false", |v| v.as_bool()).map_or(default, |found| found.value)
    }

    /// A whole number in a range.
    pub(super) fn integer(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
        default: i64,
    ) -> i64 {
        self.ask(name, &default.to_string());
        self.ranged(name, &range).map_or(default, |found| found.value)
    }

    /// A whole number in a range, when there.
    pub(super) fn integer_optional(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
        default: &str,
    ) -> Option<Found<'a, i64>> {
        self.ask(name, default);
        self.ranged(name, &range)
    }

    /// A whole number in a range that must be there.
    pub(super) fn integer_required(
        &self,
        name: &'static str,
        range: RangeInclusive<i64>,
        remedy: &str,
    ) -> Option<Found<'a, i64>> {
        let found = self.integer_optional(name, range, "required");
        if !self.has(name) {
            self.missing(name, remedy);
        }
        found
    }

    /// A finite number in a range.
    pub(super) fn number(
        &self,
        name: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        self.ask(name, &default.to_string());
        let Some(found) = self.lookup(name, "a number", number) else { return default };
        // `contains` is false for NaN.
        if range.contains(&found.value) {
            return found.value;
        }
        let remedy = format!("use {} to {}", range.start(), range.end());
        found.refuse("out of range", remedy);
        default
    }

    /// A finite number in a range, when there.
    pub(super) fn number_optional(
        &self,
        name: &'static str,
        range: RangeInclusive<f64>,
        default: &str,
    ) -> Option<f64> {
        self.ask(name, default);
        let found = self.lookup(name, "a number", number)?;
        if range.contains(&found.value) {
            return Some(found.value);
        }
        found.refuse("out of range", format!("use {} to {}", range.start(), range.end()));
        None
    }

    /// The entries of the table `name`, whose keys are the user's own, in the order of the file.
    pub(super) fn entries(&self, name: &'static str, default: &str) -> Vec<Entry<'a>> {
        self.ask(name, default);
        let Some(found) = self.lookup(name, "a table", |v| v.as_table()) else { return Vec::new() };
        let entry = |(key, item): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let value = match item.get_ref() {
                DeValue::String(text) => Some(Scalar::Text(text)),
                DeValue::Boolean(word) => Some(Scalar::Boolean(*word)),
                whole @ DeValue::Integer(_) => integer(whole).map(Scalar::Integer),
                real => number(real).filter(|n| n.is_finite()).map(Scalar::Number),
            };
            let field = format!("{}.{}", self.join(name), key.get_ref());
            let span = item.span();
            let place = (key.span().start, Found { value, field, span, report: self.report });
            (place, key.get_ref().as_ref())
        };
        let mut entries: Vec<_> = found.value.iter().map(entry).collect();
        entries.sort_by_key(|((start, _), _)| *start);
        let whole = |((_, found), key): ((usize, Found<'a, Option<Scalar<'a>>>), &'a str)| {
            let Some(value) = found.value else {
                found.refuse("not a single value", "write a number, a text or true or false");
                return None;
            };
            Some(Entry { key, found: found.with(value) })
        };
        entries.into_iter().filter_map(whole).collect()
    }

    /// A list of finite numbers, when there; lists in the list are joined.
    pub(super) fn numbers(&self, name: &'static str, default: &str) -> Option<Found<'a, Vec<f64>>> {
        self.ask(name, default);
        self.lookup(name, "a list of numbers", |value| {
            let mut numbers = Vec::new();
            collect_numbers(value, &mut numbers).then_some(numbers)
        })
    }

    /// A path, made relative to the configuration file.
    pub(super) fn anchor(&self, path: &str) -> PathBuf {
        self.report.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// Whether the field is there, whatever its value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|t| t.get(name).is_some())
    }

    /// Notes that a field is needed and missing.
    pub(super) fn missing(&self, name: &str, remedy: &str) {
        self.report.add(self.span.clone(), &self.join(name), None, "missing", remedy);
    }

    /// Notes those of the fields that are there though nothing would read them.
    pub(super) fn unused(&self, names: &[&str], remedy: &str) {
        for (key, _) in self.table.into_iter().flatten() {
            if names.contains(&key.get_ref().as_ref()) {
                let field = self.join(key.get_ref());
                self.report.add(Some(key.span()), &field, None, "of no use here", remedy);
            }
        }
    }

    /// Notes every field that was not asked for. Its value is not shown: it may be a secret.
    pub(super) fn finish(self) {
        let names = self.names.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if names.contains(&name) {
                continue;
            }
            let remedy = match nearest(name, &names) {
                _ if name == "password" => {
                    "put the password into a file and name it in password_file".to_owned()
                }
                Some(known) => format!("did you mean {known:?}?"),
                None => format!("remove it; known here: {}", names.join(", ")),
            };
            self.report.add(Some(key.span()), &self.join(name), None, "unknown field", remedy);
        }
    }

    fn ask(&self, name: &'static str, default: &str) {
        self.names.borrow_mut().push(name);
        self.report.asked.borrow_mut().push((self.join(name), default.to_owned()));
    }

    fn ranged(&self, name: &str, range: &RangeInclusive<i64>) -> Option<Found<'a, i64>> {
        let found = self.lookup(name, "a whole number", |v| v.as_integer().map(|_| integer(v)))?;
        match found.value {
            Some(value) if range.contains(&value) => Some(found.with(value)),
            _ => {
                found.refuse("out of range", format!("use {} to {}", range.start(), range.end()));
                None
            }
        }
    }

    fn lookup<T>(
        &self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Found<'a, T>> {
        let item: &'a Spanned<DeValue<'a>> = self.table?.get(name)?;
        let field = self.join(name);
        let span = item.span();
        self.report.lines.borrow_mut().insert(field.clone(), self.report.line(span.start));
        let place = Found { value: (), field, span, report: self.report };
        match read(item.get_ref()) {
            Some(value) => Some(place.with(value)),
            None => {
                let is = item.get_ref().type_str();
                place.refuse(format!("this is of type {is}"), format!("write {wanted}"));
                None
            }
        }
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}
