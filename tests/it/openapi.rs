//! The OpenAPI document is true: what it describes is there, and what is there is described.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Backend, ON, Proxy};

const METHODS: [&str; 6] = ["get", "post", "put", "patch", "delete", "trace"];

/// Method and path of everything that is described.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.filter(|m| METHODS.contains(&m.as_str())).map(|m| (m.clone(), path.clone()))
    });
    operations.collect()
}

#[test]
fn what_is_described_is_there_and_nothing_else_is() {
    let backend = Backend::named("b0");
    let proxy = Proxy::configured(ON, &[&backend], "");
    let admin = proxy.admin();
    let document = admin.get("/openapi.json");
    let described = described(&document);
    assert!(described.len() >= 15, "{described:?}");
    for path in document["paths"].as_object().unwrap().keys() {
        let target = path
            .replace("{route}", "x")
            .replace("{pool}", "x")
            .replace("{backend}", "x")
            .replace("{session}", "x");
        let allowed: BTreeSet<_> = match admin.send("TRACE", &target, "", "").field("allow") {
            Some(allow) => allow.split(',').map(|m| m.trim().to_ascii_lowercase()).collect(),
            None => panic!("{target} is not there"),
        };
        for method in METHODS.iter().filter(|method| **method != "trace") {
            let is_described = described.contains(&((*method).to_owned(), path.clone()));
            assert_eq!(allowed.contains(*method), is_described, "{method} {path}");
        }
    }
}

/// Every handler of the API is registered together with its description, except the page and the
/// document itself.
#[test]
fn no_route_goes_without_a_description() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/api");
    let mut handlers = 0;
    for entry in fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        if path.ends_with("mod.rs") {
            let bare: Vec<_> = text.lines().filter(|line| line.contains(".route(\"")).collect();
            assert_eq!(bare.len(), 2, "{bare:?}");
        } else {
            assert_eq!(text.matches(".route(").count(), 0, "{}", path.display());
        }
        handlers += text.matches("#[utoipa::path(").count();
    }
    let document = serde_json::to_value(stickler::admin::openapi()).unwrap();
    assert_eq!(described(&document).len(), handlers, "each handler is registered");
}

#[test]
fn everything_described_can_be_looked_up() {
    let document = serde_json::to_value(stickler::admin::openapi()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let target = document.pointer(reference.trim_start_matches('#'));
        assert!(target.is_some(), "{reference} leads nowhere");
    }
    for (method, path) in described(&document) {
        let operation = &document["paths"][&path][&method];
        for key in ["operationId", "summary"] {
            assert!(operation[key].is_string(), "{method} {path} has no {key}");
        }
        assert!(method != "get" || operation["requestBody"].is_null(), "{path}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            references.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
