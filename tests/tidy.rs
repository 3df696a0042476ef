//! Style and structure, held by `cargo test`: which module may use which (the table of
//! ARCHITECTURE.md), file length, module docs, where `unsafe` may stand, a core without the
//! outside world, words that do not belong here, links, the changelog.
//!
//! Every check is a function from text to complaints and is itself tested on bad snippets.

// Helpers of tests may unwrap: a panic is how a test fails.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "tidy/lex.rs"]
mod lex;

use lex::{code_only, paths_from, without_tests, words};

/// Longer files are split; a file that one cannot hold in mind hides its mistakes.
const LINES_MAX: usize = 800;
/// Beyond this a warning is printed.
const LINES_WARN: usize = 500;
/// Places where `unsafe` may stand: foreign functions, the call of what was compiled for a wider
/// processor, the processor's floating-point mode, the allocator that counts in a test, and the
/// fake camera of a foreign library.
const UNSAFE_ALLOWED: [&str; 7] = [
    "src/engine/tensorrt/",
    "src/capture/v4l2/",
    "src/capture/gige/",
    "src/image/widest.rs",
    "train/src/denormals.rs",
    "tests/alloc",
    "tests/gige/",
];
/// The core: pure modules.
const CORE: [&str; 6] = ["frame", "image", "calibrate", "judge", "message", "station"];
/// What the core must not touch: files, network, threads, time, environment, log.
const CORE_FORBIDDEN: [&str; 9] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "Instant",
    "SystemTime",
    "tracing",
    "log",
];
/// What the trainer may take from the station; the configuration for what the model sees.
const TRAINER_MAY_USE: [&str; 6] = ["frame", "image", "evaluate", "engine", "config", "sys"];
/// Folders that are not ours or not text.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` with one of `extensions`, sorted, as (path from the root, text).
fn files(dir: &str, extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root().join(dir), &mut |path| {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if extensions.contains(&&*extension) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.push((name, std::fs::read_to_string(path).unwrap()));
        }
    });
    found.sort();
    found
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name();
        if SKIPPED.iter().any(|s| name == *s) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

fn rust_files() -> Vec<(String, String)> {
    ["src", "train", "tests", "benches"].iter().flat_map(|dir| files(dir, &["rs"])).collect()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Unit tests in a file of their own: held to what holds for tests.
fn is_unit_test(name: &str) -> bool {
    name.ends_with("/tests.rs") || name.ends_with("_tests.rs") || name.contains("/tests/")
}

#[track_caller]
fn no_complaints(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

// --- edges ------------------------------------------------------------------------------------

type Edges = BTreeMap<String, BTreeSet<String>>;

/// The code map of ARCHITECTURE.md: `| `module` | what | may use |`.
fn edge_table(architecture: &str) -> Edges {
    let mut table = Edges::new();
    for line in architecture.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [module, _, uses] = cells[..] else { continue };
        let Some(module) = module.strip_prefix('`').and_then(|m| m.strip_suffix('`')) else {
            continue;
        };
        let mut allowed = BTreeSet::new();
        for word in uses.split(',').map(str::trim) {
            match word {
                "std" => {}
                "the core" => allowed.extend(CORE.map(str::to_owned)),
                "all above" => allowed.extend(table.keys().cloned()),
                "everything" => allowed.extend(["*".to_owned()]),
                module => allowed.extend([module.to_owned()]),
            }
        }
        table.insert(module.to_owned(), allowed);
    }
    table
}

/// Modules that `text`, the file `name`, uses without being allowed to.
fn edge_complaints(name: &str, text: &str, table: &Edges) -> Vec<String> {
    if is_unit_test(name) {
        return Vec::new();
    }
    let mut parts = name.split('/').skip(1);
    let Some(module) = parts.next().filter(|m| table.contains_key(*m)) else { return Vec::new() };
    // `super` once more than the file is deep names the crate.
    let depth = parts.clone().count() + 1 - usize::from(name.ends_with("/mod.rs"));
    let allowed = &table[module];
    let used = paths_from(&without_tests(&code_only(text)), "crate", Some(depth));
    used.into_iter()
        .filter(|used| table.contains_key(used) && used != module)
        .filter(|used| !allowed.contains("*") && !allowed.contains(used))
        .map(|used| format!("{name}: {module} may not use {used} (table in ARCHITECTURE.md)"))
        .collect()
}

#[test]
fn modules_use_only_what_the_architecture_allows() {
    let table = edge_table(&read("ARCHITECTURE.md"));
    let folders: BTreeSet<_> = std::fs::read_dir(root().join("src"))
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.file_type().unwrap().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(table.keys().cloned().collect::<BTreeSet<_>>(), folders, "the table is complete");
    let sources = files("src", &["rs"]);
    no_complaints(sources.iter().flat_map(|(n, t)| edge_complaints(n, t, &table)).collect());
}

#[test]
fn a_forbidden_edge_is_noticed_in_every_spelling() {
    let table = edge_table(
        "| module | what | may use |\n| --- | --- | --- |\n| `frame` | f | std |\n\
         | `judge` | j | frame |\n| `sys` | s | frame |\n| `cli` | c | everything |",
    );
    for bad in [
        "use crate::sys::clock;",
        "use crate::{frame::Nanos, sys::fs};",
        "use crate::{\n    frame::{Nanos, PartId},\n    sys,\n};",
        "fn f() { crate::sys::clock::now() }",
        "use super::super::sys::fs;",
        "pub(crate) use crate :: sys;",
    ] {
        assert_eq!(edge_complaints("src/judge/verdict.rs", bad, &table).len(), 1, "{bad}");
        assert!(edge_complaints("src/cli/run.rs", bad, &table).is_empty(), "{bad}");
    }
    assert_eq!(edge_complaints("src/judge/mod.rs", "use super::sys;", &table).len(), 1);
    for good in [
        "use crate::frame::Nanos;",
        "use super::sys;",
        "// use crate::sys;",
        "const S: &str = \"crate::sys\";",
        "use crate::judge::{sys_like, Verdict};",
        "#[cfg(test)]\nmod tests { use crate::sys::fs; }",
    ] {
        assert!(edge_complaints("src/judge/verdict.rs", good, &table).is_empty(), "{good}");
    }
}

#[test]
fn the_trainer_takes_only_its_part_of_the_station() {
    let complaints = |text: &str| -> Vec<String> {
        let used = paths_from(&without_tests(&code_only(text)), "crrd", None);
        used.into_iter().filter(|u| !TRAINER_MAY_USE.contains(&u.as_str())).collect()
    };
    assert_eq!(complaints("use crrd::pipeline::Station;"), ["pipeline"]);
    assert_eq!(complaints("use crrd::{image, publish};"), ["publish"]);
    let sources = files("train/src", &["rs"]);
    assert!(!sources.is_empty());
    no_complaints(
        sources
            .iter()
            .flat_map(|(name, text)| {
                complaints(text).into_iter().map(move |u| format!("{name}: {u}"))
            })
            .collect(),
    );
}

// --- files ------------------------------------------------------------------------------------

fn length_complaint(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    if lines > LINES_WARN {
        println!("warning: {name} has {lines} lines; think of splitting it");
    }
    (lines > LINES_MAX).then(|| format!("{name}: {lines} lines, at most {LINES_MAX}"))
}

fn docs_complaint(name: &str, text: &str) -> Option<String> {
    (!text.starts_with("//! ") && !is_unit_test(name))
        .then(|| format!("{name}: must begin with module docs (//!)"))
}

fn unsafe_complaint(name: &str, text: &str) -> Option<String> {
    let allowed = UNSAFE_ALLOWED.iter().any(|place| name.starts_with(place));
    let found = words(&code_only(text)).any(|word| word == "unsafe");
    (found && !allowed).then(|| format!("{name}: unsafe is allowed in {UNSAFE_ALLOWED:?} only"))
}

fn stub_complaint(name: &str, text: &str) -> Option<String> {
    let code = code_only(text);
    let stub = ["todo!", "unimplemented!"].into_iter().find(|stub| code.contains(stub));
    stub.map(|stub| format!("{name}: {stub} (unfinished is absent)"))
}

fn core_complaint(name: &str, text: &str) -> Option<String> {
    let module = name.split('/').nth(1).filter(|_| name.starts_with("src/"))?;
    if !CORE.contains(&module) || is_unit_test(name) {
        return None;
    }
    let code = without_tests(&code_only(text)).replace(char::is_whitespace, " ");
    let found = CORE_FORBIDDEN.iter().find(|forbidden| match forbidden.split_once("::") {
        Some((_, inner)) => {
            code.contains(*forbidden) || paths_from(&code, "std", None).iter().any(|p| p == inner)
        }
        None if forbidden.starts_with(char::is_uppercase) => words(&code).any(|w| w == **forbidden),
        None => code.contains(&format!("{forbidden}::")),
    });
    found.map(|found| format!("{name}: the core must not use {found}"))
}

#[test]
fn rust_files_are_short_documented_finished_and_safe() {
    let sources = rust_files();
    assert!(sources.len() > 30);
    let checks =
        [length_complaint, docs_complaint, unsafe_complaint, stub_complaint, core_complaint];
    no_complaints(
        sources
            .iter()
            .flat_map(|(name, text)| checks.iter().filter_map(|c| c(name, text)))
            .collect(),
    );
}

#[test]
fn bad_files_are_noticed() {
    assert!(length_complaint("a.rs", &"\n".repeat(LINES_MAX + 1)).is_some());
    assert!(length_complaint("a.rs", &"\n".repeat(LINES_MAX)).is_none());
    assert!(docs_complaint("a.rs", "use std::fs;\n//! late").is_some());
    assert!(docs_complaint("a.rs", "//! What it is.").is_none());
    assert!(docs_complaint("src/judge/tests.rs", "use super::*;").is_none());
    let unsafe_code = "fn f() { unsafe { g() } }";
    assert!(unsafe_complaint("src/judge/mod.rs", unsafe_code).is_some());
    assert!(unsafe_complaint("src/engine/tensorrt/ffi.rs", unsafe_code).is_none());
    assert!(unsafe_complaint("src/judge/mod.rs", "// unsafe { }\n#![deny(unsafe_code)]").is_none());
    assert!(stub_complaint("a.rs", "fn f() { todo!() }").is_some());
    assert!(stub_complaint("a.rs", "// todo!()").is_none());
    for bad in [
        "use std::fs::File;",
        "use std::{fmt, fs};",
        "let t = Instant::now();",
        "std::thread::sleep(d);",
        "tracing::info!(\"x\");",
        "log::info!(\"x\");",
    ] {
        assert!(core_complaint("src/judge/mod.rs", bad).is_some(), "{bad}");
        assert!(core_complaint("src/pipeline/mod.rs", bad).is_none(), "{bad}");
        let in_tests = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{ {bad} }}");
        assert!(core_complaint("src/judge/mod.rs", &in_tests).is_none(), "{bad}");
    }
    assert!(core_complaint("src/judge/mod.rs", "let catalog = dialog.log();").is_none());
}

// --- words ------------------------------------------------------------------------------------

/// Absolute folders of one machine and hosts of one network: nobody else can follow them.
fn word_complaints(name: &str, text: &str) -> Vec<String> {
    // In parts: this file is held to it too.
    let folders = ["home", "root", "work", "Users"].map(|name| format!("/{name}/"));
    let folders = folders.into_iter().chain(["C:\\Users\\".to_owned()]).collect::<Vec<_>>();
    let hosts = ["registry", "mirror", "proxy", "artifactory", "nexus", "internal", "corp"];
    let mut complaints = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let at = format!("{name}:{}", i + 1);
        for folder in &folders {
            // Not inside a longer relative path such as `docs/work/`.
            let alone = |at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".~".contains(c))
            };
            if line.match_indices(folder).any(|(at, _)| alone(at)) {
                complaints.push(format!("{at}: folder of one machine ({folder})"));
            }
        }
        for (start, _) in line.match_indices("://") {
            let host = line[start + 3..].split(['/', ' ', '"', ')', ':']).next().unwrap_or("");
            if host.split(['.', '-']).any(|label| hosts.contains(&label)) {
                complaints.push(format!("{at}: host of one network ({host})"));
            }
        }
    }
    complaints
}

#[test]
fn nothing_points_into_one_machine_or_network() {
    let extensions = ["rs", "md", "toml", "service", "conf", "example", "py", "lock", "sh"];
    let mut texts = files("", &extensions);
    texts.push((".ci/run".into(), read(".ci/run")));
    // This file quotes the words it looks for.
    texts.retain(|(name, _)| name != "tests/tidy.rs");
    no_complaints(texts.iter().flat_map(|(n, t)| word_complaints(n, t)).collect());
}

#[test]
fn words_of_one_machine_are_noticed() {
    for bad in [
        "see /home/jane/notes",
        "path = \"/home/joe/.cargo\"",
        "curl http://registry.plant.example/x",
        "index = \"https://mirror.example.org/\"",
    ] {
        assert_eq!(word_complaints("a.md", bad).len(), 1, "{bad}");
    }
    for good in ["docs/work/x", "https://github.com/rust-lang/crates.io-index", "~/work/x"] {
        assert!(word_complaints("a.md", good).is_empty(), "{good}");
    }
}

// --- documents --------------------------------------------------------------------------------

/// Relative link targets of `text`, the document `name`, that `exists` does not know.
fn link_complaints(name: &str, text: &str, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let mut complaints = Vec::new();
    for (start, _) in text.match_indices("](") {
        let target = text[start + 2..].split([')', ' ']).next().unwrap_or("");
        let path = target.split('#').next().unwrap_or("");
        if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        if !exists(&normal(&folder.join(path))) {
            complaints.push(format!("{name}: link to {target}, which does not exist"));
        }
    }
    complaints
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_of_every_document_has_a_target() {
    let documents = files("", &["md"]);
    assert!(documents.len() > 10);
    let exists = |path: &Path| root().join(path).exists();
    no_complaints(documents.iter().flat_map(|(n, t)| link_complaints(n, t, &exists)).collect());
}

#[test]
fn a_dead_link_is_noticed() {
    let exists = |path: &Path| path == Path::new("docs/plc.md");
    let check = |name: &str, text: &str| link_complaints(name, text, &exists).len();
    assert_eq!(check("README.md", "[a](docs/plc.md) [b](docs/plc.md#x) [c](#here)"), 0);
    assert_eq!(check("docs/spec/mqtt.md", "[a](../plc.md) [b](https://example.org/x)"), 0);
    assert_eq!(check("README.md", "[a](plc.md) and [b](docs/missing.md)"), 2);
}

fn changelog_complaint(changelog: &str, manifest: &str) -> Option<String> {
    let package = manifest.split("[workspace.package]").nth(1)?;
    let version =
        package.lines().find_map(|l| l.strip_prefix("version = \""))?.trim_end_matches('"');
    let noted = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .any(|heading| heading.split_whitespace().next() == Some(version));
    (!noted).then(|| format!("CHANGELOG.md has no section for {version}"))
}

#[test]
fn the_changelog_has_the_version() {
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("[workspace.package]"));
    no_complaints(changelog_complaint(&read("CHANGELOG.md"), &manifest).into_iter().collect());
    let manifest = "[workspace.package]\nversion = \"0.2.0\"\n";
    assert!(changelog_complaint("## 0.2.0 - today", manifest).is_none());
    assert!(changelog_complaint("## 0.1.0\n0.2.0", manifest).is_some());
}
