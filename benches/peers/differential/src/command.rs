//! A command as the comparison sees it: without its envelope.

use bson::{Bson, Document};
use mongotls_testbench::server::Request;

/// Fields that drivers add to every command. Tests of the specifications cover them: sessions, retryable writes, cluster
/// times.
const ENVELOPE: &[&str] = &["lsid", "txnNumber", "$clusterTime"];

/// The command that a server has received. Documents in a sequence of the message are an array again: "OP_MSG" allows both
/// forms.
pub(crate) fn observed(request: &Request) -> Document {
    let mut command = request.body.clone();
    for sequence in &request.sequences {
        let documents = sequence.documents.iter().cloned().map(Bson::Document);
        command.insert(&sequence.id, Bson::Array(documents.collect()));
    }
    for field in ENVELOPE {
        command.remove(*field);
    }
    command
}

/// Calls a function for each document at these places of a command; `[]` stands for the elements of an array.
///
/// `updates[].collation` is the collation of each statement.
pub(crate) fn at(command: &mut Document, place: &str, apply: &mut dyn FnMut(&mut Document)) {
    let Some((first, rest)) = split(place) else {
        apply(command);
        return;
    };
    let (name, is_array) = match first.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (first, false),
    };
    match command.get_mut(name) {
        Some(Bson::Document(inner)) if !is_array => at(inner, rest, apply),
        Some(Bson::Array(elements)) if is_array => {
            for element in elements.iter_mut().filter_map(Bson::as_document_mut) {
                at(element, rest, apply);
            }
        }
        _ => {}
    }
}

fn split(place: &str) -> Option<(&str, &str)> {
    if place.is_empty() {
        return None;
    }
    Some(place.split_once('.').unwrap_or((place, "")))
}

/// Sorts the fields of a document by their names, except the first one if it is the name of a command.
pub(crate) fn sort(document: &mut Document, keeps_first: bool) {
    let mut fields: Vec<_> = std::mem::take(document).into_iter().collect();
    let start = usize::from(keeps_first && !fields.is_empty());
    fields[start..].sort_by(|(one, _), (other, _)| one.cmp(other));
    document.extend(fields);
}
