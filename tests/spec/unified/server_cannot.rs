//! The cases that the servers cannot run, from `tests/spec/server_cannot.txt`.
//!
//! A line is `file | description | deployment | reason`. The deployment is a topology with a version (`sharded 8.2`), or
//! `*`. A listed case must fail: if it passes, its line is out of date.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use super::deployment::Configuration;
use super::lock;

/// One line.
struct Line {
    suite: &'static str,
    description: &'static str,
    deployment: &'static str,
    reason: &'static str,
}

/// The list, and the lines that matched a case.
pub(crate) struct ServerCannot {
    lines: Vec<Line>,
    used: Mutex<HashSet<usize>>,
}

impl ServerCannot {
    /// Reads the list.
    pub(crate) fn read() -> Result<Self, String> {
        let text = include_str!("../server_cannot.txt");
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines = lines.map(|line| {
            let parts: Vec<_> = line.split(" | ").collect();
            match parts[..] {
                [suite, description, deployment, reason] => Ok(Line {
                    suite,
                    description,
                    deployment,
                    reason,
                }),
                _ => Err(format!("server_cannot.txt: malformed line: {line}")),
            }
        });
        Ok(Self {
            lines: lines.collect::<Result<_, _>>()?,
            used: Mutex::default(),
        })
    }

    /// The reason why this case cannot run there, if it is listed.
    pub(crate) fn reason(
        &self,
        suite: &str,
        description: &str,
        configuration: Configuration,
    ) -> Option<&'static str> {
        let name = configuration.to_string();
        let index = self.lines.iter().position(|line| {
            line.suite == suite
                && line.description == description
                && ["*", &name].contains(&line.deployment)
        })?;
        lock(&self.used).insert(index);
        Some(self.lines[index].reason)
    }

    /// The lines that matched no case. A folder may have only some of the cases; the prose beside the tests
    /// (`crud/crud.md`) identifies a whole checkout, in which each line must match.
    pub(crate) fn unused(&self, root: &Path) -> Vec<String> {
        let used = lock(&self.used);
        let unused = self.lines.iter().enumerate().filter(|(index, line)| {
            let specification = line.suite.split('/').next().unwrap_or_default();
            let prose = root.join(specification).join(format!("{specification}.md"));
            !used.contains(index) && prose.is_file()
        });
        unused
            .map(|(_, line)| format!("{}: \"{}\"", line.suite, line.description))
            .collect()
    }
}
