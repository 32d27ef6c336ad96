//! Values that are written as text and have a grammar of their own: durations, sizes, addresses.
//!
//! A [`Leaf`] names its format, says what it looks like and parses it. [`Parsed`] makes a field of
//! the file out of it, with the format in the schema. The checker finds the parser back through
//! the format's name ([`FORMATS`]), so that one parser gives the error message, the check and the
//! value.

mod names;
mod net;
mod units;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use names::{
    CookieName, CookiePath, Domain, HeaderCondition, LogFilter, Name, NameTemplate, QueryName,
};
pub use net::{AdminAddress, ExactPath, HostHeader, ListenAddress, PathPrefix, ServerName, Target};
pub use units::{Factor, Percent, RedirectStatus, Share, Size, StatusRange};

/// A value that is written as text.
pub trait Leaf: Sized {
    /// The name of its format, in the schema.
    const FORMAT: &'static str;
    /// What to write, as the end of a sentence that begins with "expected".
    const EXPECTED: &'static str;
    /// The JSON types that it may be written in.
    const TYPES: &'static [&'static str] = &["string"];

    /// The value of a text; otherwise what is wrong with it, in a few words.
    fn parse(text: &str) -> Result<Self, String>;

    /// A text that parses to this value. Of a secret, something that does not.
    fn show(&self) -> String;
}

/// A field of the file that holds a [`Leaf`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

impl<'de, T: Leaf> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde_json::Value;
        let text = match Value::deserialize(deserializer)? {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let parsed = text.and_then(|text| T::parse(&text).ok());
        // Not the parser's message: that may quote a secret, and the checker has given it already.
        let wrong = || de::Error::custom(format_args!("expected {}", T::EXPECTED));
        parsed.map(Parsed).ok_or_else(wrong)
    }
}

/// So that defaults appear in the schema.
impl<T: Leaf> Serialize for Parsed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.show())
    }
}

impl<T: Leaf> JsonSchema for Parsed<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        match T::TYPES {
            [one] => json_schema!({ "type": one, "format": T::FORMAT }),
            several => json_schema!({ "type": several, "format": T::FORMAT }),
        }
    }
}

/// A [`Leaf`] as a value: what the checker needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// [`Leaf::FORMAT`]
    pub name: &'static str,
    /// [`Leaf::EXPECTED`]
    pub expected: &'static str,
    /// [`Leaf::parse`], without the value.
    pub check: fn(&str) -> Result<(), String>,
}

impl Format {
    /// The format of these values.
    pub const fn of<T: Leaf>() -> Format {
        Format { name: T::FORMAT, expected: T::EXPECTED, check: |text| T::parse(text).map(|_| ()) }
    }

    /// The format of this name, if it is one of ours.
    pub fn named(name: &str) -> Option<Format> {
        FORMATS.iter().find(|format| format.name == name).copied()
    }
}

/// Every format of ours.
pub const FORMATS: &[Format] = &[
    Format::of::<AdminAddress>(),
    Format::of::<CookieName>(),
    Format::of::<CookiePath>(),
    Format::of::<Domain>(),
    Format::of::<ExactPath>(),
    Format::of::<Factor>(),
    Format::of::<Percent>(),
    Format::of::<HeaderCondition>(),
    Format::of::<HostHeader>(),
    Format::of::<ListenAddress>(),
    Format::of::<LogFilter>(),
    Format::of::<Name>(),
    Format::of::<NameTemplate>(),
    Format::of::<PathPrefix>(),
    Format::of::<QueryName>(),
    Format::of::<RedirectStatus>(),
    Format::of::<ServerName>(),
    Format::of::<Share>(),
    Format::of::<Size>(),
    Format::of::<StatusRange>(),
    Format::of::<Target>(),
    Format::of::<crate::balance::Address>(),
    Format::of::<crate::balance::affinity::Key>(),
    Format::of::<crate::http::compression::MediaRange>(),
    Format::of::<crate::routing::HostMatch>(),
    Format::of::<crate::routing::Template>(),
    Format::of::<http::HeaderValue>(),
    Format::of::<http::Method>(),
    Format::of::<http::header::HeaderName>(),
    Format::of::<ipnet::IpNet>(),
    Format::of::<std::path::PathBuf>(),
    Format::of::<std::time::Duration>(),
];
