use std::collections::{BTreeMap, BTreeSet};

/// Metrics as a scraper reads them.
#[derive(Debug)]
pub struct Scrape {
    pub text: String,
    samples: Vec<Sample>,
    /// Names as announced, and what they are.
    pub types: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads a text, and fails if a scraper would.
    #[track_caller]
    pub fn of(text: String) -> Self {
        let mut samples = Vec::new();
        let mut types = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                if words.next() == Some("TYPE") {
                    let (name, kind) = (words.next().unwrap(), words.next().unwrap());
                    let is_new = types.insert(name.to_owned(), kind.to_owned()).is_none();
                    assert!(is_new, "{name} is announced twice");
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(seen.insert(series.to_owned()), "{series} comes twice");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap();
            let pairs = labels.split_terminator("\",").map(|pair| {
                let (label, value) = pair.split_once("=\"").unwrap();
                (label.to_owned(), value.trim_end_matches('"').to_owned())
            });
            let base = ["_total", "_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|base| types.contains_key(*base))
                .unwrap_or(name);
            assert!(types.contains_key(base), "{name} was not announced");
            let labels = pairs.collect();
            samples.push(Sample { name: name.into(), labels, value: value.parse().unwrap() });
        }
        Scrape { text, samples, types }
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.get(*label).is_some_and(|found| found == value)
        };
        self.samples
            .iter()
            .filter(move |s| s.name == name && labels.iter().all(|label| has(s, label)))
    }

    /// The sum of the samples of this name that have these labels, whatever others they have.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The value of the only such sample.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.matching(name, labels).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}\n{}", self.text);
        found[0].value
    }

    /// The values of a label, over all samples.
    pub fn values_of(&self, label: &str) -> BTreeSet<&str> {
        self.samples.iter().filter_map(|s| s.labels.get(label)).map(String::as_str).collect()
    }

    /// The names of all labels.
    pub fn labels(&self) -> BTreeSet<&str> {
        self.samples.iter().flat_map(|s| s.labels.keys()).map(String::as_str).collect()
    }

    /// The names of all samples.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.iter().map(|sample| sample.name.as_str()).collect()
    }
}
