//! Mistakes, and how they are shown: in the manner of a compiler, with the place underlined.
//!
//! A mistake says what is wrong (title), where (the underlined text with a label, and other places
//! that have to do with it), and what to do next (help).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};

use super::source::{Place, Source, without_keys};

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Debug)]
pub struct ConfigError {
    /// In the order of the file, and never empty.
    mistakes: Vec<Mistake>,
}

impl ConfigError {
    /// What is wrong, in the order of the file. Never empty.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// All mistakes as a text for people, in colours if asked: the caller knows the terminal.
    pub fn render(&self, colors: bool) -> String {
        let shown: Vec<_> = self.mistakes.iter().map(|mistake| mistake.render(colors)).collect();
        shown.join("\n\n")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}

/// How bad a [`Mistake`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, and is probably not what was meant.
    Warning,
}

/// Something wrong with a configuration.
#[derive(Clone, Debug)]
pub struct Mistake {
    severity: Severity,
    source: Arc<Source>,
    title: String,
    /// The place first, then those that have to do with it. Empty when it is about the whole file.
    notes: Vec<(Range<usize>, String)>,
    help: Option<String>,
    /// It may be only a consequence of another mistake.
    doubtful: bool,
}

impl Mistake {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What is wrong, in one line.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// What there is to say about the place.
    pub fn explanation(&self) -> Option<&str> {
        self.notes.first().map(|(_, label)| label.as_str()).filter(|label| !label.is_empty())
    }

    /// What to do next.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Line and column of the place, counted from 1; `None` when it is about the whole file.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.start().map(|start| self.source.position(start))
    }

    fn start(&self) -> Option<usize> {
        self.notes.first().map(|(span, _)| span.start)
    }

    /// The mistake as a text for people, in colours if asked: the caller knows the terminal.
    pub fn render(&self, colors: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(self.title.as_str());
        let mut group = if self.notes.is_empty() {
            Group::with_title(title).element(Origin::path(self.source.name()))
        } else {
            Group::with_title(title).element(self.snippet())
        };
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        let renderer = if colors { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }

    fn snippet(&self) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let kinds = std::iter::once(AnnotationKind::Primary);
        let kinds = kinds.chain(std::iter::repeat(AnnotationKind::Context));
        let notes = self.notes.iter().zip(kinds);
        Snippet::source(self.source.text()).path(self.source.name()).annotations(
            notes.map(|((span, label), kind)| kind.span(span.clone()).label(label.as_str())),
        )
    }

    /// Says beside the underlined text what is wrong with it.
    pub(crate) fn label(&mut self, label: impl AsRef<str>) -> &mut Self {
        if let Some((_, first)) = self.notes.first_mut() {
            *first = clean(label.as_ref());
        }
        self
    }

    /// Shows another place that has to do with it.
    pub(crate) fn with(&mut self, place: impl Into<Place>, label: impl AsRef<str>) -> &mut Self {
        let place = place.into();
        self.doubtful |= place.doubtful;
        if let Some(span) = place.span {
            self.notes.push((self.source.fit(span), clean(label.as_ref())));
        }
        self
    }

    /// It is one only if this place is right.
    pub(crate) fn depends_on(&mut self, place: impl Into<Place>) -> &mut Self {
        self.doubtful |= place.into().doubtful;
        self
    }

    /// Says what to do next.
    pub(crate) fn help(&mut self, help: impl AsRef<str>) -> &mut Self {
        let lines: Vec<_> = help.as_ref().lines().map(clean).collect();
        self.help = Some(lines.join("\n"));
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// A text of which parts may have been written by anybody, as it may be shown.
fn clean(text: &str) -> String {
    without_keys(&normalize_untrusted_str(text))
}

/// The mistakes of one file, while they are collected.
#[derive(Debug)]
pub(crate) struct Mistakes {
    source: Arc<Source>,
    list: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn new(source: Arc<Source>) -> Self {
        Mistakes { source, list: Vec::new() }
    }

    /// Adds an error; the caller goes on to say more about it.
    pub(crate) fn error(&mut self, at: impl Into<Place>, title: impl Into<String>) -> &mut Mistake {
        self.add(Severity::Error, at.into(), title.into())
    }

    /// Adds a warning; the caller goes on to say more about it.
    pub(crate) fn warning(
        &mut self,
        at: impl Into<Place>,
        title: impl Into<String>,
    ) -> &mut Mistake {
        self.add(Severity::Warning, at.into(), title.into())
    }

    fn add(&mut self, severity: Severity, place: Place, title: String) -> &mut Mistake {
        let notes = place.span.map(|span| (self.source.fit(span), String::new()));
        self.list.push(Mistake {
            severity,
            source: self.source.clone(),
            title: without_keys(&title),
            notes: notes.into_iter().collect(),
            help: None,
            doubtful: place.doubtful,
        });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// The text that the mistakes point into.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The warnings if there is no error; otherwise the errors, without those that may be only
    /// consequences of others.
    pub(super) fn verdict(mut self) -> Result<Vec<Mistake>, ConfigError> {
        if self.list.iter().any(|mistake| mistake.severity == Severity::Error) {
            // What makes a place doubtful is itself reported without doubt, so some error remains.
            self.list.retain(|mistake| !mistake.doubtful);
            return Err(self.into_error());
        }
        self.list.sort_by_key(Mistake::start);
        Ok(self.list)
    }

    /// The errors. There must be some.
    pub(super) fn into_error(mut self) -> ConfigError {
        self.list.retain(|mistake| mistake.severity == Severity::Error);
        self.list.sort_by_key(Mistake::start);
        ConfigError { mistakes: self.list }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Mistakes {
        Mistakes::new(Arc::new(Source::new("a.toml", text)))
    }

    #[test]
    fn a_mistake_shows_the_place_and_what_to_do() {
        let mut mistakes = mistakes("a = 1\nb = 22\n");
        mistakes.error(10..12, "b is too large").label("at most 9").help("make it\nsmaller");
        let error = mistakes.verdict().unwrap_err();
        assert_eq!(error.mistakes()[0].position(), Some((2, 5)));
        assert_eq!(
            error.to_string(),
            "error: b is too large\n --> a.toml:2:5\n  |\n2 | b = 22\n  |     ^^ at most 9\n  |\n  \
             = help: make it\n          smaller",
        );
        assert!(error.render(true).contains('\u{1b}'));
    }

    #[test]
    fn errors_come_in_the_order_of_the_file_and_without_consequences() {
        let mut mistakes = mistakes("abc");
        mistakes.error(2..3, "third");
        mistakes.error(Place { span: Some(1..2), doubtful: true }, "second");
        mistakes.error(0..1, "first").with(1..2, "see here");
        mistakes.error(Place::default(), "the whole");
        let error = mistakes.verdict().unwrap_err();
        let titles: Vec<_> = error.mistakes().iter().map(Mistake::title).collect();
        assert_eq!(titles, ["the whole", "first", "third"]);
    }

    #[test]
    fn warnings_alone_are_no_error() {
        let mut mistakes = mistakes("abc");
        mistakes.warning(0..1, "hm");
        assert_eq!(mistakes.verdict().unwrap()[0].severity(), Severity::Warning);
    }

    #[test]
    fn places_outside_the_text_do_not_panic() {
        for span in [0..0, 3..3, 1..2, 2..100, 50..60] {
            let mut mistakes = mistakes("aä");
            mistakes.error(span, "x\u{1b}[31m").label("\n").help("\t");
            mistakes.verdict().unwrap_err().to_string();
        }
    }
}
