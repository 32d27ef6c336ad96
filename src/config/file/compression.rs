//! `compression` of a pool and of a route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::leaf::{Parsed, Size};
use crate::http::compression::{Coding, MediaRange};

/// Types that get shorter, and are not compressed in themselves.
const TYPES: [&str; 7] = [
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "application/wasm",
    "application/x-ndjson",
    "font/ttf",
];

/// Whether and how responses are compressed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CompressionSwitch {
    /// `false`: they are not. `true`: as by default.
    Switch(bool),
    /// How.
    Table(Compression),
}

/// How responses are compressed. Not those that are in a coding already, parts of something, or
/// marked `no-transform`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// In which ways, the preferred one first. What a client likes better goes before that.
    pub algorithms: Vec<Algorithm>,
    /// Responses that are shorter than this stay as they are.
    pub min_length: Parsed<Size>,
    /// Media types that are compressed: `text/html`, `text/*` or `*/*`. `application/json` and
    /// `application/xml` stand for types that end in `+json` and `+xml`, too.
    pub types: Vec<Parsed<MediaRange>>,
}

impl Default for Compression {
    fn default() -> Self {
        let types = TYPES.into_iter().filter_map(|range| range.parse().ok());
        Compression {
            algorithms: vec![Algorithm::Zstd, Algorithm::Br, Algorithm::Gzip],
            min_length: Parsed(Size::kib(1)),
            types: types.map(Parsed).collect(),
        }
    }
}

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "CompressionAlgorithm")]
pub enum Algorithm {
    /// gzip: everybody knows it.
    Gzip,
    /// Brotli: shorter, for more CPU time.
    Br,
    /// Zstandard: short and fast.
    Zstd,
}

impl From<Algorithm> for Coding {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Gzip => Coding::Gzip,
            Algorithm::Br => Coding::Brotli,
            Algorithm::Zstd => Coding::Zstd,
        }
    }
}
