//! The JSON Schema of the file: generated from its types, and read back by the checker.

use std::ops::Range;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value as Json;

use super::document::{Node, Value};
use super::file::File;
use super::leaf::Format;
use super::suggest::{list, nearest};

/// The JSON Schema (draft 2020-12) of the configuration file, for editors.
pub fn schema() -> Json {
    schema_of::<File>()
}

/// The JSON Schema of any file of ours.
pub(super) fn schema_of<F: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with_transform(WithoutNull);
    settings.into_generator().into_root_schema_for::<F>().to_value()
}

/// TOML has no null: an `Option` is a key that may be left out, and nothing else.
#[derive(Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut schemars::Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if object.get("default").is_some_and(Json::is_null) {
            object.remove("default");
        }
        if let Some(Json::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = &types[..] {
                let only = only.clone();
                object.insert("type".into(), only);
            }
        }
        if let Some(Json::Array(schemas)) = object.get_mut("anyOf") {
            schemas.retain(|schema| schema.get("type") != Some(&"null".into()));
            if let [Json::Object(only)] = &mut schemas[..] {
                let only = std::mem::take(only);
                object.remove("anyOf");
                for (key, value) in only {
                    object.entry(key).or_insert(value); // a field's own description stays
                }
            }
        }
    }
}

/// A schema inside the document that defines what it refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schema<'a> {
    root: &'a Json,
    json: &'a Json,
    /// Formats besides those of the configuration.
    formats: &'a [Format],
}

impl<'a> Schema<'a> {
    pub(super) fn root(root: &'a Json) -> Self {
        Schema { root, json: root, formats: &[] }
    }

    /// The same, with formats of its own.
    pub(super) fn with(self, formats: &'a [Format]) -> Self {
        Schema { formats, ..self }
    }

    fn at(self, json: &'a Json) -> Self {
        Schema { json, ..self }
    }

    /// The schemas of which a value must satisfy one. For each type that a value can have there is
    /// at most one that is not a list of words (a test makes sure), so that the value's type says
    /// which one is meant.
    pub(super) fn alternatives(self) -> Vec<Schema<'a>> {
        if let Some(reference) = self.json["$ref"].as_str() {
            let pointer = reference.trim_start_matches('#');
            return self.at(self.root.pointer(pointer).unwrap_or(&Json::Null)).alternatives();
        }
        let several = self.json["anyOf"].as_array().or(self.json["oneOf"].as_array());
        match several {
            Some(schemas) => schemas.iter().flat_map(|json| self.at(json).alternatives()).collect(),
            None => vec![self],
        }
    }

    /// May a value have this type?
    pub(super) fn admits(self, json_type: &str) -> bool {
        let is = |name: &str| name == json_type || name == "number" && json_type == "integer";
        match &self.json["type"] {
            Json::String(name) => is(name),
            Json::Array(names) => names.iter().filter_map(Json::as_str).any(is),
            _ => false,
        }
    }

    /// The words that a string must be one of, if it must.
    pub(super) fn words(self) -> Vec<&'a str> {
        let listed = self.json["enum"].as_array().into_iter().flatten();
        listed.chain(self.json.get("const")).filter_map(Json::as_str).collect()
    }

    /// The format of a string or number, if it is one of ours.
    pub(super) fn format(self) -> Option<Format> {
        let name = self.json["format"].as_str()?;
        let own = self.formats.iter().find(|format| format.name == name);
        own.copied().or_else(|| Format::named(name))
    }

    /// Smallest and largest integer.
    pub(super) fn range(self) -> (i64, i64) {
        let bound = |name: &str| self.json[name].as_i64();
        (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(i64::MAX))
    }

    /// What the items of a list are.
    pub(super) fn items(self) -> Schema<'a> {
        self.at(&self.json["items"])
    }

    /// What stands under a key of a table, if the key may be there.
    pub(super) fn property(self, key: &str) -> Option<Schema<'a>> {
        let named = self.json["properties"].get(key);
        let json =
            named.or_else(|| self.json.get("additionalProperties").filter(|j| j.is_object()));
        json.map(|json| self.at(json))
    }

    /// The keys that a table may have; none if it is a map with keys of the operator's.
    pub(super) fn keys(self) -> Vec<&'a str> {
        self.json["properties"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect()
    }

    /// What the keys of a map look like.
    pub(super) fn key_format(self) -> Option<Format> {
        self.at(&self.json["propertyNames"]).format()
    }

    /// The keys that a table must have.
    pub(super) fn required(self) -> impl Iterator<Item = &'a str> {
        self.json["required"].as_array().into_iter().flatten().filter_map(Json::as_str)
    }

    /// What to write, as the end of a sentence that begins with "expected".
    pub(super) fn in_words(self) -> String {
        let alternatives = self.alternatives();
        let words = alternatives.iter().flat_map(|schema| schema.words());
        let words = words.map(|word| format!("{word:?}"));
        let others = alternatives.iter().filter(|schema| schema.words().is_empty());
        let mut parts: Vec<_> = words.chain(others.map(|schema| schema.type_in_words())).collect();
        match parts.pop() {
            Some(last) if !parts.is_empty() => format!("{}, or {last}", parts.join(", ")),
            only => only.unwrap_or_default(),
        }
    }

    fn type_in_words(self) -> String {
        if let Some(format) = self.format() {
            return format.expected.into();
        }
        let (min, max) = self.range();
        match self.json["type"].as_str().unwrap_or_default() {
            "integer" if max == i64::MAX => format!("an integer from {min}"),
            "integer" => format!("an integer from {min} to {max}"),
            "boolean" => "true or false".into(),
            "array" => "a list".into(),
            "object" if self.keys().is_empty() => "a table".into(),
            "object" => format!("a table of {}", list(self.keys())),
            _ => "a string".into(),
        }
    }

    /// The keys of the file that are `writeOnly`, and those in their tables.
    fn secret_keys(self) -> Vec<&'a str> {
        let root = Schema::root(self.root);
        let top = root.keys().into_iter().filter_map(|key| Some((key, root.property(key)?)));
        let secret = top.filter(|(_, schema)| schema.json["writeOnly"] == true);
        let with_inner = secret.flat_map(|(key, schema)| {
            let tables = schema.alternatives();
            [key].into_iter().chain(tables.into_iter().flat_map(Schema::keys))
        });
        with_inner.collect()
    }

    /// The places of all secrets in a tree. Under a key that is `writeOnly`, and under an unknown
    /// one that may be meant as such, every value is one, except where a key expressly is not.
    pub(super) fn secrets(self, node: &Node, secret: bool, found: &mut Vec<Range<usize>>) {
        let secret = self.json["writeOnly"].as_bool().unwrap_or(secret);
        match &node.value {
            Value::Array(items) => {
                let schema = self.alternatives().into_iter().find(|s| s.admits("array"));
                let schema = schema.map_or(self.at(&Json::Null), Schema::items);
                items.iter().for_each(|item| schema.secrets(item, secret, found));
            }
            Value::Table(table) => {
                let schema = self.alternatives().into_iter().find(|s| s.admits("object"));
                for (key, node) in table {
                    match schema.and_then(|schema| schema.property(key)) {
                        Some(property) => property.secrets(node, secret, found),
                        None => {
                            let secret = secret || nearest(key, self.secret_keys()).is_some();
                            self.at(&Json::Null).secrets(node, secret, found);
                        }
                    }
                }
            }
            _ if secret => found.push(node.span.clone()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `visit` with the name and schema of every key and item.
    fn visit_all(schema: Schema<'_>, name: &str, visit: &mut dyn FnMut(&str, Schema<'_>)) {
        visit(name, schema);
        for schema in schema.alternatives() {
            for key in schema.keys() {
                visit_all(schema.property(key).unwrap(), key, visit);
            }
            if schema.admits("array") {
                visit_all(schema.items(), name, visit);
            }
            if let Some(values) = schema.property("*") {
                visit_all(values, name, visit);
            }
        }
    }

    fn visit(visit: &mut dyn FnMut(&str, Schema<'_>)) {
        let json = schema();
        let mut visited = 0;
        visit_all(Schema::root(&json), "(root)", &mut |name, schema| {
            visited += 1;
            visit(name, schema);
        });
        assert!(visited > 80, "only {visited} keys visited");
    }

    #[test]
    fn a_values_type_says_which_alternative_is_meant() {
        visit(&mut |name, schema| {
            let alternatives = schema.alternatives();
            assert!(!alternatives.is_empty(), "{name}");
            for json_type in ["string", "integer", "number", "boolean", "array", "object"] {
                let grammar = |s: &&Schema<'_>| s.admits(json_type) && s.words().is_empty();
                assert!(alternatives.iter().filter(grammar).count() <= 1, "{name}: {json_type}");
            }
            assert!(!alternatives.iter().any(|schema| schema.admits("null")), "{name}");
        });
    }

    #[test]
    fn every_key_is_described_and_says_its_default() {
        visit(&mut |name, schema| {
            for schema in schema.alternatives() {
                let required: Vec<_> = schema.required().collect();
                for key in schema.keys() {
                    let json = schema.property(key).unwrap().json;
                    let description = json["description"].as_str().unwrap_or_default();
                    assert!(description.len() > 10, "{name}.{key} is not described");
                    let alternatives = schema.property(key).unwrap().alternatives();
                    let is_table = alternatives.iter().any(|schema| schema.admits("object"));
                    let says_default = required.contains(&key)
                        || json.get("default").is_some()
                        || ["Absent:", "At least one"].iter().any(|s| description.contains(s));
                    // The default of a table is that of its keys.
                    assert!(is_table || says_default, "{name}.{key} does not say its default");
                }
            }
        });
    }

    #[test]
    fn the_checker_knows_every_format_and_every_range() {
        visit(&mut |name, schema| {
            for schema in schema.alternatives() {
                if schema.json["type"] == "integer" {
                    let (min, max) = schema.range();
                    let is_count = schema.json["format"] == "uint64" && min == 1;
                    assert!(min >= 0 && (max < i64::MAX || is_count), "{name} has no range");
                } else if let Some(format) = schema.json["format"].as_str() {
                    assert!(schema.format().is_some(), "{name} has an unknown format {format}");
                }
            }
        });
    }
}
