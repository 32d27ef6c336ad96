//! The map in `lib.rs`, and the locks that keep the core pure, checked against the source text.
//!
//! Only shipped code is looked at: comments and test modules are left out. A path is found
//! wherever it stands, in a `use` or in an expression, with its groups taken apart and `crate`,
//! `self` and `super` resolved.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that decide and count, and do nothing else.
const PURE: [&str; 3] = ["balance", "routing", "http"];

/// What would make them impure, and their tests unrepeatable.
const IMPURE: [&str; 14] = [
    "tokio",
    "hyper",
    "hyper_util",
    "socket2",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "tracing",
    "rand",
];

/// Lines that a file has at most.
const LONGEST_FILE: usize = 600;

/// Shipped code of one file.
struct Source {
    /// Relative to the repository.
    name: String,
    /// `balance::affinity::token` for `src/balance/affinity/token.rs`.
    module: Vec<String>,
    /// Its lines by number, without comments and test modules.
    lines: Vec<(usize, String)>,
}

impl Source {
    fn read(path: &Path) -> Self {
        let inside = path.strip_prefix(root().join("src")).unwrap().with_extension("");
        let mut module: Vec<_> =
            inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().unwrap() == "mod" {
            module.pop();
        }
        let text = fs::read_to_string(path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        Source { lines: shipped(&name, &text), name, module }
    }

    /// The top-level module that it belongs to.
    fn part(&self) -> &str {
        &self.module[0]
    }

    /// Every path in it, with the line that it stands on.
    fn paths(&self) -> Vec<(usize, String)> {
        let mut paths = Paths { module: &self.module, groups: Vec::new(), found: Vec::new() };
        self.lines.iter().for_each(|(number, line)| paths.read(*number, line));
        paths.found
    }
}

/// The lines of a file, without what is not shipped.
fn shipped(name: &str, text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line)).peekable();
    while let Some((number, line)) = numbered.next() {
        if line.trim() == "#[cfg(test)]"
            && let Some((_, next)) = numbered.next_if(|(_, next)| next.contains("mod "))
        {
            if next.ends_with('{') {
                // Everything below is the test module.
                assert!(text.ends_with("\n}\n"), "{name}: tests stand at the end of a file");
                break;
            }
            continue;
        }
        let line = line.split_once("//").filter(|(before, _)| !before.ends_with(':'));
        let line = line.map_or(text.lines().nth(number - 1).unwrap(), |(code, _)| code);
        lines.push((number, line.to_owned()));
    }
    lines
}

/// Finds paths in code, line by line.
struct Paths<'a> {
    module: &'a [String],
    /// Open braces, and what each of them puts in front of the paths in it.
    groups: Vec<String>,
    found: Vec<(usize, String)>,
}

impl Paths<'_> {
    fn read(&mut self, number: usize, line: &str) {
        let mut word = String::new();
        for c in line.chars().chain([' ']) {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | ':') {
                word.push(c);
                continue;
            }
            let group = self.groups.last().map_or("", String::as_str);
            let path = format!("{group}{}", std::mem::take(&mut word));
            let path = path.strip_suffix("::self").unwrap_or(&path);
            // A bare word may be anything, and is nobody else's.
            if path.contains("::") && !path.ends_with(':') {
                self.found.push((number, self.resolve(path)));
            }
            match c {
                '{' if path.ends_with("::") => self.groups.push(path.to_owned()),
                '{' => self.groups.push(String::new()),
                '}' => drop(self.groups.pop()),
                _ => {}
            }
        }
    }

    /// `crate::a::b` for `super::b` in module `a`.
    fn resolve(&self, path: &str) -> String {
        let mut base = self.module;
        let mut rest = path;
        if let Some(inside) = rest.strip_prefix("self::") {
            rest = inside;
        } else if !rest.starts_with("super::") {
            return path.to_owned();
        }
        while let Some(above) = rest.strip_prefix("super::") {
            (base, rest) = (&base[..base.len().saturating_sub(1)], above);
        }
        ["crate"]
            .into_iter()
            .chain(base.iter().map(String::as_str))
            .chain([rest])
            .collect::<Vec<_>>()
            .join("::")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The `.rs` files below a directory of this repository, at least `plausible` of them.
fn files(directory: &str, plausible: usize) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension() == Some("rs".as_ref()) {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() >= plausible, "only {} files in {directory}", files.len());
    files
}

/// The shipped code of these parts of `src`, at least `plausible` files of it.
fn sources(parts: &[&str], plausible: usize) -> Vec<Source> {
    let is_shipped = |path: &PathBuf| !path.ends_with("tests.rs");
    let all = files("src", 80).into_iter().filter(is_shipped).map(|path| Source::read(&path));
    let sources: Vec<_> = all.filter(|source| parts.contains(&source.part())).collect();
    assert!(sources.len() >= plausible, "only {} files in {parts:?}", sources.len());
    sources
}

/// The parts of the library and what each may import, as the table in `lib.rs` says.
fn map() -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let names = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.strip_suffix(" |"))
        .map(|row| row.split(" | ").collect())
        .filter(|row: &Vec<&str>| row[0].contains('`'))
        .collect();
    let parts: Vec<String> = rows.iter().flat_map(|row| names(row[0])).collect();
    let may_import = rows.iter().map(|row| match row[2] {
        "all of them" => parts.clone(),
        cell => names(cell),
    });
    parts.iter().cloned().zip(may_import).collect()
}

#[track_caller]
fn assert_none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn the_map_names_every_part_and_nothing_else() {
    let map = map();
    let mut parts: Vec<_> = files("src", 80)
        .iter()
        .map(|path| Source::read(path).part().to_owned())
        .filter(|part| part != "lib" && part != "main")
        .collect();
    parts.dedup();
    assert!(parts.len() >= 10, "only {parts:?}");
    assert_eq!(map.keys().cloned().collect::<Vec<_>>(), parts);
    for pure in PURE {
        assert!(map[pure].is_empty(), "{pure} imports nothing of ours");
    }
}

#[test]
fn parts_import_what_the_map_allows() {
    let map = map();
    let mut broken = Vec::new();
    let mut imports = 0;
    for (part, allowed) in &map {
        for source in sources(&[part], 1) {
            for (line, path) in source.paths() {
                let Some(other) = path.strip_prefix("crate::") else { continue };
                let other = other.split("::").next().unwrap();
                if other == part || !map.contains_key(other) {
                    continue;
                }
                imports += 1;
                if !allowed.iter().any(|allowed| allowed == other) {
                    broken.push(format!("{}:{line} uses {path}", source.name));
                }
            }
        }
    }
    assert!(imports > 100, "only {imports} imports were found");
    assert_none(&broken, "the map in src/lib.rs does not allow");
}

#[test]
fn the_core_is_pure() {
    let mut broken = Vec::new();
    for source in sources(&PURE, 30) {
        for (line, path) in source.paths() {
            let is_in = |module: &&str| {
                path.strip_prefix(*module)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            };
            if IMPURE.iter().any(is_in) {
                broken.push(format!("{}:{line} uses {path}", source.name));
            }
        }
    }
    assert_none(&broken, "balance, routing and http take everything as arguments, but");
}

#[test]
fn only_clock_reads_the_clock() {
    let mut readers = Vec::new();
    for path in files("src", 80) {
        let source = Source::read(&path);
        let reads = |path: &str| path.ends_with("::now") && !path.ends_with("clock::now");
        let found = source.paths().into_iter().filter(|(_, path)| reads(path));
        readers.extend(found.map(|(line, path)| format!("{}:{line} calls {path}", source.name)));
    }
    let (clock, others): (Vec<_>, Vec<_>) =
        readers.into_iter().partition(|reader| reader.starts_with("src/clock.rs:"));
    assert!(clock.len() >= 2, "clock.rs reads no clock: {clock:?}");
    assert_none(&others, "the clock is read in clock.rs only, but");
}

#[test]
fn no_file_is_too_long() {
    let mut broken = Vec::new();
    for path in files("src", 80).into_iter().chain(files("tests", 10)) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > LONGEST_FILE {
            broken.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert_none(&broken, "nobody reads that much at once");
}

/// Nothing that a peer sends may panic: where an `expect` is certain, an attribute says why.
#[test]
fn the_request_path_does_not_panic() {
    /// An attribute stands at most so many lines above the call that it is for.
    const REACH: usize = 8;

    let mut broken = Vec::new();
    for source in sources(&["proxy", "http", "server"], 30) {
        let expects =
            |line: &str| line.contains("#[expect(clippy::") && line.contains("_used, reason = \"");
        for (i, (number, line)) in source.lines.iter().enumerate() {
            let panics = [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];
            let above = &source.lines[i.saturating_sub(REACH)..i];
            if panics.iter().any(|call| line.contains(call))
                && !above.iter().any(|(_, line)| expects(line))
            {
                broken.push(format!("{}:{number} {}", source.name, line.trim()));
            }
        }
    }
    assert_none(&broken, "this panics, and no #[expect] says why it cannot");
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let found = |text: &str| -> Vec<String> {
        let module = ["a".to_owned(), "b".to_owned()];
        let mut paths = Paths { module: &module, groups: Vec::new(), found: Vec::new() };
        text.lines().for_each(|line| paths.read(0, line));
        paths.found.into_iter().map(|(_, path)| path).collect()
    };
    assert_eq!(found("use std::fs;"), ["std::fs"]);
    assert_eq!(
        found("use std::{\n    fs,\n    os::{unix, fd::AsFd},\n    io\n};"),
        ["std::fs", "std::os::unix", "std::os::fd::AsFd", "std::io"]
    );
    assert_eq!(found("fn f() { std::env::var(x) }"), ["std::env::var"]);
    assert_eq!(
        found("use super::c; use super::super::d; use self::e;"),
        ["crate::a::c", "crate::d", "crate::a::b::e"]
    );
    assert_eq!(found("use super::{c, super::d};"), ["crate::a::c", "crate::d"]);
    assert_eq!(found("struct A { b: C }"), Vec::<String>::new());
}

#[test]
fn comments_and_test_modules_are_left_out() {
    let text = "use a; // b\n/// c\nlet url = \"http://d\";\n#[cfg(test)]\nmod tests;\nuse e;\n\
                #[cfg(test)]\nmod more {\n    f\n}\n";
    let lines: Vec<_> = shipped("x", text).into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["use a; ", "", "let url = \"http://d\";", "use e;"]);
}
