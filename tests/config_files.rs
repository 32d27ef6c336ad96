//! The configuration files that we ship, and files with mistakes and what is said about them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use stickler::config::{Config, schema};
use stickler::lab::simulator::scenario::{SHIPPED, Scenario};

const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// The TOML files of a directory of this repository.
fn files(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension() == Some("toml".as_ref())).collect();
    files.sort();
    assert!(files.len() >= 5, "only {} files in {}", files.len(), directory.display());
    files
}

#[test]
fn every_shipped_file_loads_without_a_warning() {
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(credentials.path().join("token.keys"), KEY).unwrap();
    std::fs::write(credentials.path().join("admin.token"), "0123456789abcdef").unwrap();
    for name in ["shop", "api", "clients", "ops"] {
        let made = rcgen::generate_simple_self_signed([format!("{name}.example.com")]).unwrap();
        let file = |extension: &str| credentials.path().join(name).with_extension(extension);
        std::fs::write(file("pem"), made.cert.pem()).unwrap();
        std::fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
    }
    let environment = |name: &str| match name {
        "STICKLER_KEY" => Some(KEY.to_owned()),
        "CREDENTIALS_DIRECTORY" => Some(credentials.path().display().to_string()),
        _ => None,
    };
    for path in files("config") {
        match Config::load(&path, &environment) {
            Ok(loaded) => {
                let warnings: String = loaded.warnings.iter().map(ToString::to_string).collect();
                assert!(warnings.is_empty(), "{}\n{warnings}", path.display());
                assert!(!loaded.config.to_string().contains(KEY), "{}", path.display());
            }
            Err(error) => panic!("{}\n{error}", path.display()),
        }
    }
}

#[test]
fn every_scenario_of_the_simulator_loads_and_comes_with_the_program() {
    let mut known = BTreeSet::new();
    for path in files("config/scenarios") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let (scenario, warnings) = Scenario::load(path.to_str().unwrap())
            .unwrap_or_else(|error| panic!("{}\n{error}", path.display()));
        assert!(warnings.is_empty(), "{}\n{warnings:?}", path.display());
        assert!(!scenario.policies.is_empty(), "{name}");
        known.insert(name);
    }
    let shipped = SHIPPED.iter().map(|shipped| shipped.name.to_owned());
    assert_eq!(known, shipped.collect());
}

/// The keys of a schema with the tables that they are in: `pools.*.affinity.mode`.
fn keys_of_schema(schema: &Json, root: &Json, path: &str, keys: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        keys_of_schema(target, root, path, keys);
    }
    for inner in ["anyOf", "oneOf"].iter().filter_map(|name| schema[name].as_array()).flatten() {
        keys_of_schema(inner, root, path, keys);
    }
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        keys_of_schema(schema, root, &path, keys);
        keys.insert(path);
    }
    if schema["items"].is_object() {
        keys_of_schema(&schema["items"], root, path, keys);
    }
    if schema["additionalProperties"].is_object() {
        keys_of_schema(&schema["additionalProperties"], root, &format!("{path}.*"), keys);
    }
}

/// The keys that a file uses, in the same form.
fn keys_of_file(value: &toml::Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let is_name = matches!(path, ".pools" | ".routes.headers")
                    || path.ends_with("_headers.set")
                    || path.ends_with("_headers.add")
                    || path.ends_with(".error_pages");
                let path = format!("{path}.{}", if is_name { "*" } else { key });
                keys_of_file(value, &path, keys);
                keys.insert(path);
            }
        }
        toml::Value::Array(items) => items.iter().for_each(|item| keys_of_file(item, path, keys)),
        _ => {}
    }
}

#[test]
fn full_toml_shows_every_key() {
    let text = include_str!("../config/full.toml");
    let mut shown = BTreeSet::new();
    keys_of_file(&toml::Value::Table(text.parse().unwrap()), "", &mut shown);
    // What would contradict another key is there too, commented out: `# key = value`.
    let alternatives: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# ")?.parse::<toml::Table>().ok())
        .flat_map(|table| {
            let mut keys = BTreeSet::new();
            keys_of_file(&toml::Value::Table(table), "", &mut keys);
            keys
        })
        .collect();
    let schema = schema();
    let mut keys = BTreeSet::new();
    keys_of_schema(&schema, &schema, "", &mut keys);
    assert!(keys.len() > 70, "only {} keys in the schema", keys.len());
    let is_shown = |key: &&String| {
        shown.contains(*key) || alternatives.iter().any(|alternative| key.ends_with(alternative))
    };
    let missing: Vec<_> = keys.iter().filter(|key| !is_shown(key)).collect();
    assert!(missing.is_empty(), "config/full.toml does not show {missing:?}");
}

/// To accept what is said now: `UPDATE_EXPECTED=1 cargo test --test config_files`.
#[test]
fn mistakes_are_reported_as_expected() {
    let environment = |name: &str| (name == "SECRET").then(|| "Sesame".to_owned());
    let update = option_env("UPDATE_EXPECTED").is_some();
    for path in files("tests/config/invalid") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let directory = path.parent().unwrap();
        let reported = match Config::parse(name, &text, directory, &environment) {
            Ok(_) => panic!("{name} was accepted"),
            Err(error) => format!("{error}\n"),
        };
        assert!(!reported.contains("Sesame"), "{name} gives a secret away");
        let expected = path.with_extension("expected");
        if update {
            std::fs::write(&expected, &reported).unwrap();
        }
        assert_eq!(
            reported,
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{name}: UPDATE_EXPECTED=1 accepts the left side"
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "a switch of this test, not of the program")]
fn option_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
