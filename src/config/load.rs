//! From a file to a [`Config`], stage by stage.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::at::At;
use super::check::check;
use super::document::Document;
use super::file::File;
use super::leaf::Format;
use super::report::{ConfigError, Mistake, Mistakes};
use super::schema::{Schema, schema_of};
use super::source::{Place, Source};
use super::variables::{self, Environment};
use super::{Config, resolve};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// What to do.
    pub config: Config,
    /// What is probably not meant like this.
    pub warnings: Vec<Mistake>,
}

impl Config {
    /// Reads a file, and the files with secrets that it names.
    pub fn load(path: &Path, environment: Environment<'_>) -> Result<Loaded, ConfigError> {
        let name = path.display().to_string();
        match read(path) {
            Ok(bytes) => {
                let directory = path.parent().unwrap_or(Path::new(""));
                Config::parse_bytes(&name, &bytes, directory, environment)
            }
            Err(error) => Err(unreadable(&name, &error)),
        }
    }

    /// Reads a text. `name` is what mistakes call it; paths in it are relative to `directory`.
    pub fn parse(
        name: &str,
        text: &str,
        directory: &Path,
        environment: Environment<'_>,
    ) -> Result<Loaded, ConfigError> {
        Config::parse_bytes(name, text.as_bytes(), directory, environment)
    }

    fn parse_bytes(
        name: &str,
        bytes: &[u8],
        directory: &Path,
        environment: Environment<'_>,
    ) -> Result<Loaded, ConfigError> {
        let resolve = |file: &File, at: At<'_>, mistakes: &mut Mistakes| {
            resolve::resolve(file, at, directory, environment, mistakes)
        };
        let (config, warnings) = read_as(name, bytes, &[], environment, resolve)?;
        Ok(Loaded { config, warnings })
    }
}

/// Reads a text that mirrors `F`, which may have `formats` of its own, and makes something of it
/// by `resolve`. Gives that and the warnings, or every mistake of both stages.
pub(crate) fn read_as<F: DeserializeOwned + JsonSchema, T>(
    name: &str,
    bytes: &[u8],
    formats: &[Format],
    environment: Environment<'_>,
    resolve: impl FnOnce(&F, At<'_>, &mut Mistakes) -> T,
) -> Result<(T, Vec<Mistake>), ConfigError> {
    let text = &*String::from_utf8_lossy(bytes);
    let json_schema = schema_of::<F>();
    let schema = Schema::root(&json_schema).with(formats);
    let mut document = Document::parse(text);
    let source = without_secrets(Source::new(name, text), &document, schema);
    let mut mistakes = Mistakes::new(Arc::new(source));
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let span = at..at + char::REPLACEMENT_CHARACTER.len_utf8();
        let mistake = mistakes.error(span, "not UTF-8");
        mistake.label("no character").help("save the file in UTF-8");
    }
    not_toml(&document, &mut mistakes);
    if !document.mend(text) {
        return Err(mistakes.into_error());
    }
    check(&mut document.root, schema, environment, &mut mistakes);
    let Ok(file) = F::deserialize(document.root.to_json()) else {
        // Serde's message may quote a secret, so it is not shown.
        let title = "the schema and the types of the file disagree";
        let mistake = mistakes.error(Place::default(), title);
        mistake.help("this is a bug in Stickler; please report it with the file");
        return Err(mistakes.into_error());
    };
    let resolved = resolve(&file, At::root(&document.root), &mut mistakes);
    Ok((resolved, mistakes.verdict()?))
}

/// The error of a file that cannot be read.
pub(crate) fn unreadable(name: &str, error: &io::Error) -> ConfigError {
    let mut mistakes = Mistakes::new(Arc::new(Source::new(name, "")));
    mistakes.error(Place::default(), format!("cannot read {name}: {error}"));
    mistakes.into_error()
}

/// Bytes that a file may have: far more than any configuration, and no endless device.
const LARGEST: u64 = 16 << 20;

/// Reads a file of a sensible size.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 16 MiB"));
    }
    Ok(bytes)
}

/// Blacks out what is secret in the text, except the names of variables.
fn without_secrets(mut source: Source, document: &Document, schema: Schema<'_>) -> Source {
    let mut secrets = Vec::new();
    schema.secrets(&document.root, false, &mut secrets);
    for secret in secrets {
        let secret = source.fit(secret);
        let literals = variables::literals(source.slice(secret.clone()));
        for literal in literals {
            source.black_out(secret.start + literal.start..secret.start + literal.end);
        }
    }
    source
}

fn not_toml(document: &Document, mistakes: &mut Mistakes) {
    for (span, message) in &document.errors {
        if message.starts_with("string values must be quoted") {
            // By far the most frequent one: `idle = 30s`.
            let label = match mistakes.source().slice(span.clone()) {
                "" => "a value is missing".to_owned(),
                text => format!("write {text:?}"),
            };
            mistakes.error(span.clone(), "not TOML: a string needs quotes").label(label);
        } else {
            mistakes.error(span.clone(), format!("not TOML: {message}"));
        }
    }
}
