//! The comparison of two transcripts of the same operations.

use std::fmt;

use bson::{Bson, Document};

use crate::driver::Peer;
use crate::known::{self, Uses};
use crate::lane::Transcript;
use crate::stage::Store;

/// The first difference.
pub(crate) struct Difference {
    pub(crate) peer: Peer,
    /// The operation, unless the documents at the end differ.
    pub(crate) operation: Option<Document>,
    ours: String,
    theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.operation {
            Some(operation) => writeln!(f, "  operation  {}", json(operation))?,
            None => writeln!(f, "  the documents at the end")?,
        }
        writeln!(f, "  mongotls   {}", self.ours)?;
        write!(f, "  {:<10} {}", self.peer.to_string(), self.theirs)
    }
}

/// Compares what mongotls and another driver did. `counts` gets the number of operations and of commands that were
/// compared.
pub(crate) fn compare(
    (peer, store): (Peer, Store),
    operations: &[Document],
    ours: &Transcript,
    theirs: &Transcript,
    uses: &mut Uses,
    counts: &mut Counts,
) -> Result<(), Difference> {
    for (index, operation) in operations.iter().enumerate() {
        let (our_step, their_step) = (&ours.steps[index], &theirs.steps[index]);
        let name = operation.get_str("name").expect("the name");
        let our_commands = without_known(name, &our_step.commands, peer, uses);
        let their_commands = without_known(name, &their_step.commands, peer, uses);
        let our_result = known::essence(&our_step.result);
        let their_result = known::essence(&their_step.result);
        counts.operations += 1;
        counts.commands += our_commands.len() as u64;
        if our_commands == their_commands && our_result == their_result {
            continue;
        }
        if let Some(excuse) = known::excuse((peer, store), operation, our_step, their_step) {
            *uses.entry(excuse.name).or_default() += 1;
            if excuse.is_harmless {
                continue;
            }
            return Ok(());
        }
        let (ours, theirs) = if our_commands == their_commands {
            let text = |result: &Document| format!("returns {}", json(result));
            (text(&our_step.result), text(&their_step.result))
        } else {
            let text = |commands: &[Document], result: &Document| {
                let commands: Vec<_> = commands.iter().map(json).collect();
                format!("sends {}, returns {}", commands.join(" "), json(result))
            };
            (
                text(&our_commands, &our_step.result),
                text(&their_commands, &their_step.result),
            )
        };
        return Err(Difference {
            peer,
            operation: Some(operation.clone()),
            ours,
            theirs,
        });
    }
    let (our_end, their_end) = (
        known::essence(&ours.contents),
        known::essence(&theirs.contents),
    );
    if our_end == their_end {
        return Ok(());
    }
    Err(Difference {
        peer,
        operation: None,
        ours: our_end.into_canonical_extjson().to_string(),
        theirs: their_end.into_canonical_extjson().to_string(),
    })
}

/// The size of a comparison.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) operations: u64,
    pub(crate) commands: u64,
}

fn without_known(
    operation: &str,
    commands: &[Document],
    peer: Peer,
    uses: &mut Uses,
) -> Vec<Document> {
    let commands = commands.iter();
    commands
        .map(|command| known::without(operation, command, peer, uses))
        .collect()
}

/// Canonical Extended JSON.
pub(crate) fn json(document: &Document) -> String {
    Bson::from(document.clone())
        .into_canonical_extjson()
        .to_string()
}
