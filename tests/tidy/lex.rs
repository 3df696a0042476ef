//! Just enough of Rust's lexing for the tidy checks: code without comments and literals, the
//! test part cut off, the first segments of paths.

use std::collections::BTreeSet;

/// `text` with comments, strings and character literals replaced by a space each (line breaks
/// are kept).
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment_or_literal(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        code.push(' ');
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// Bytes of the comment or literal that `rest` begins with; 0 when it is code.
fn comment_or_literal(rest: &str, before: Option<char>) -> usize {
    let end_after = |from: usize, end: &str| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let open = rest.len() - raw.len() + hashes + 1;
            return end_after(open, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if rest.starts_with('"') {
        return escaped(rest, '"');
    }
    // A lifetime has no closing quote after one character.
    let mut chars = rest.chars();
    if chars.next() == Some('\'') {
        let second = chars.next();
        if second == Some('\\') || chars.next() == Some('\'') {
            return escaped(rest, '\'');
        }
    }
    0
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn escaped(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == quote {
            return at + 1;
        }
    }
    rest.len()
}

/// Code up to the test module (by habit the last item of a file).
pub(crate) fn without_tests(code: &str) -> String {
    code.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

/// Identifiers and keywords.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Second segments of all paths that begin with `start::` (groups included), or with `supers`
/// times `super::` when given.
pub(crate) fn paths_from(code: &str, start: &str, supers: Option<usize>) -> BTreeSet<String> {
    let dense = dense(code);
    let mut found = BTreeSet::new();
    let mut collect = |prefix: &str| {
        for (at, _) in dense.match_indices(prefix) {
            let part_of_longer = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
            if !dense[..at].ends_with(part_of_longer) {
                found.extend(heads(&dense[at + prefix.len()..]));
            }
        }
    };
    collect(&format!("{start}::"));
    if let Some(supers) = supers {
        collect(&"super::".repeat(supers));
    }
    found
}

/// Without white space, but for one space between two words.
fn dense(code: &str) -> String {
    let mut dense = String::with_capacity(code.len());
    for word in code.split_whitespace() {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        if dense.ends_with(joins) && word.starts_with(joins) {
            dense.push(' ');
        }
        dense.push_str(word);
    }
    dense
}

/// The first segment, or those of each member of a group.
fn heads(after: &str) -> Vec<String> {
    let word = |text: &str| {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        text[..end].to_owned()
    };
    let Some(group) = after.strip_prefix('{') else { return vec![word(after)] };
    let mut heads = vec![word(group)];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(word(&group[at + 1..])),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[test]
fn comments_and_literals_are_not_code() {
    for (text, code) in [
        ("a // b\nc", "a  \nc"),
        ("a /* b /* c */ d */ e", "a   e"),
        ("f(\"a \\\" b\", 'c', '\\'')", "f( ,  ,  )"),
        ("r#\"a \" b\"# c", "  c"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
        ("for r in \"x\"", "for r in  "),
        ("\"ü\" 'ü' ü", "    ü"),
    ] {
        assert_eq!(code_only(text), code, "{text}");
    }
}
