//! What a TOML value says, and which known name an unknown one was meant to be.

use toml::de::DeValue;

/// An integer or a float.
pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(_) => integer(value).map(|i| i as f64),
        DeValue::Float(f) => f.as_str().parse().ok(),
        _ => None,
    }
}

/// Appends the numbers of a list and of the lists in it; false when there is anything else.
pub(super) fn collect_numbers(value: &DeValue<'_>, numbers: &mut Vec<f64>) -> bool {
    let Some(list) = value.as_array() else { return false };
    list.iter().all(|item| match item.get_ref() {
        plain @ (DeValue::Integer(_) | DeValue::Float(_)) => {
            let found = number(plain).filter(|n| n.is_finite());
            numbers.extend(found);
            found.is_some()
        }
        inner => collect_numbers(inner, numbers),
    })
}

/// An integer in any of TOML's notations.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok())
}

/// The known name at most two edits away.
pub(super) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    const EDITS_MAX: usize = 2;
    let near = |k: &&'n str| (edits(name, k), *k);
    let (distance, best) = known.iter().map(near).min()?;
    (distance <= EDITS_MAX && distance < best.len()).then_some(best)
}

/// Levenshtein distance in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
