//! `compression` of a pool and of a route.

use super::Resolver;
use crate::config::Compression;
use crate::config::at::At;
use crate::config::file::{self, CompressionSwitch};
use crate::http::compression::Coding;

impl Resolver<'_> {
    /// `None` if nothing is to be compressed.
    pub(super) fn compression(
        &mut self,
        file: &CompressionSwitch,
        at: At<'_>,
    ) -> Option<Compression> {
        let default = file::Compression::default();
        let file = match file {
            CompressionSwitch::Switch(false) => return None,
            CompressionSwitch::Switch(true) => &default,
            CompressionSwitch::Table(file) => file,
        };
        let at_algorithms = at.key("algorithms");
        self.not_empty(&file.algorithms, at_algorithms, "leave it out for all of them");
        self.not_empty(&file.types, at.key("types"), "leave it out for the usual ones");
        for (i, algorithm) in file.algorithms.iter().enumerate() {
            if let Some(first) = file.algorithms[..i].iter().position(|other| other == algorithm) {
                let title = format!("{} names the same twice", at_algorithms.path());
                let mistake = self.mistakes.error(at_algorithms.index(i), title);
                mistake
                    .label("this changes nothing")
                    .with(at_algorithms.index(first), "because of this");
            }
        }
        Some(Compression {
            algorithms: file.algorithms.iter().copied().map(Coding::from).collect(),
            min_length: file.min_length.0.0,
            types: file.types.iter().map(|range| range.0.clone()).collect(),
        })
    }
}
