//! Words of Structured Text and SCL: `#name` and `"Name"` are names, pragmas in braces are skipped.

/// A word with the line it stands in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) line: usize,
    pub(crate) word: Word,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Word {
    /// A name or keyword, in lower case: the languages do not tell cases apart.
    Name(String),
    /// A number with its type where it is written `UDINT#5`.
    Number(Option<String>, i64),
    /// A duration in milliseconds.
    Time(i64),
    /// An operator or bracket.
    Sign(&'static str),
}

/// Longest first.
const SIGNS: [&str; 21] = [
    ":=", "=>", "<=", ">=", "<>", "..", "(", ")", "[", "]", ";", ":", ",", ".", "+", "-", "*", "/",
    "<", ">", "=",
];

/// # Panics
/// At anything that is no word of the subset.
pub(crate) fn lex(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (used, word) = match first {
            _ if rest.starts_with("(*") => (comment(rest), None),
            _ if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), None),
            '{' => (rest.find('}').expect("a closed pragma") + 1, None),
            c if c.is_whitespace() => (1, None),
            '#' => name(&rest[1..], 1),
            '"' => {
                let (used, word) = name(&rest[1..], 1);
                assert_eq!(&rest[used..=used], "\"", "line {line}: quoted name");
                (used + 1, word)
            }
            c if c.is_ascii_alphabetic() || c == '_' => typed_literal_or_name(rest),
            c if c.is_ascii_digit() => {
                let (used, value) = number(rest);
                (used, Some(Word::Number(None, value)))
            }
            _ => {
                let sign = SIGNS.into_iter().find(|s| rest.starts_with(s));
                let sign = sign.unwrap_or_else(|| panic!("line {line}: {first:?}"));
                (sign.len(), Some(Word::Sign(sign)))
            }
        };
        tokens.extend(word.map(|word| Token { line, word }));
        line += rest[..used].matches('\n').count();
        rest = &rest[used..];
    }
    tokens
}

/// Length of the comment at the beginning; comments nest.
fn comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        match text.get(at..at + 2).expect("a closed comment") {
            "(*" => (depth, at) = (depth + 1, at + 2),
            "*)" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
}

fn name(text: &str, skipped: usize) -> (usize, Option<Word>) {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    assert!(end > 0, "a name at {:?}", &text[..text.len().min(20)]);
    (skipped + end, Some(Word::Name(text[..end].to_ascii_lowercase())))
}

fn typed_literal_or_name(text: &str) -> (usize, Option<Word>) {
    let (used, word) = name(text, 0);
    let Some(literal) = text[used..].strip_prefix('#') else { return (used, word) };
    let kind = text[..used].to_ascii_uppercase();
    let (length, value) = number(literal);
    let used = used + 1 + length;
    if kind == "T" || kind == "TIME" {
        let unit = &text[used..];
        let (letters, ms) = if unit.starts_with("ms") { (2, 1) } else { (1, 1000) };
        assert!(unit.starts_with("ms") || unit.starts_with('s'), "a time in s or ms");
        return (used + letters, Some(Word::Time(value * ms)));
    }
    (used, Some(Word::Number(Some(kind), value)))
}

/// Length and value of a decimal or `16#` number.
fn number(text: &str) -> (usize, i64) {
    let (prefix, base) = if text.starts_with("16#") { (3, 16) } else { (0, 10) };
    let digits = &text[prefix..];
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    (prefix + end, i64::from_str_radix(&digits[..end], base).expect("a number"))
}
