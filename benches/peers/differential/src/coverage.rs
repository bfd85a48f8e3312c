//! The options that a run has covered, and the proof that the comparison notices each of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use bson::{Bson, Document};

use crate::compare::{Counts, compare};
use crate::driver::Peer;
use crate::known::Uses;
use crate::lane::{Lane, Transcript};
use crate::operations::{COLLATION, INDEX, MODELS, OPERATIONS, OTHER_PARTS};
use crate::stage::Store;

/// An option in an operation: its name for the report, and the way to it.
struct Part {
    name: String,
    path: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Field(String),
    Element(usize),
}

/// A sequence with an operation that has an option, and what a peer did in it.
struct Example {
    operations: Rc<Vec<Document>>,
    position: usize,
    path: Vec<Step>,
    peer: Peer,
    theirs: Rc<Transcript>,
}

/// Sequences that contain each option.
#[derive(Default)]
pub(crate) struct Coverage(BTreeMap<String, Vec<Example>>);

/// The number of sequences that are kept for an option: in some of them its value is the default.
const EXAMPLES: usize = 12;

impl Coverage {
    /// Notes the options of a sequence that mongotls and the peer have run. An option counts if a command was sent.
    pub(crate) fn note(
        &mut self,
        operations: &Rc<Vec<Document>>,
        peer: Peer,
        ours: &Transcript,
        theirs: &Rc<Transcript>,
    ) {
        for (position, operation) in operations.iter().enumerate() {
            if ours.steps[position].commands.is_empty() {
                continue;
            }
            for part in parts(operation) {
                let examples = self.0.entry(part.name).or_default();
                examples.push(Example {
                    operations: Rc::clone(operations),
                    position,
                    path: part.path,
                    peer,
                    theirs: Rc::clone(theirs),
                });
                // Those near the beginning of their sequence take less time.
                examples.sort_by_key(|example| example.position);
                examples.truncate(EXAMPLES);
            }
        }
    }

    /// The operations and options that did not occur.
    pub(crate) fn missing(&self) -> Vec<String> {
        expected()
            .filter(|name| !self.0.contains_key(name))
            .collect()
    }

    /// Runs mongotls without one option at a time. Returns the options whose absence no comparison notices, and the
    /// number of all.
    pub(crate) fn unnoticed(&self, ours: &Lane) -> (Vec<String>, usize) {
        let is_option = |examples: &[Example]| !examples[0].path.is_empty();
        let options: Vec<_> = self
            .0
            .iter()
            .filter(|(_, examples)| is_option(examples))
            .collect();
        let unnoticed = options.iter().filter(|(_, examples)| {
            let mut examples = examples.iter();
            !examples.any(|example| is_noticed(example, ours))
        });
        let unnoticed = unnoticed.map(|(name, _)| (*name).clone()).collect();
        (unnoticed, options.len())
    }
}

/// Runs mongotls without the option up to the operation, and compares.
fn is_noticed(example: &Example, ours: &Lane) -> bool {
    let operations = &example.operations[..=example.position];
    let operation = &operations[example.position];
    let mut without = operations.to_vec();
    remove(without.last_mut().expect("an operation"), &example.path);
    let transcript = ours.run_steps(&without);
    let (mut uses, mut counts) = (Uses::new(), Counts::default());
    let compared = compare(
        (example.peer, Store::Secantus),
        operations,
        &transcript,
        &example.theirs,
        &mut uses,
        &mut counts,
    );
    // The documents at the end differ in any case: the peer has run the whole sequence.
    compared.is_err_and(|difference| difference.operation.as_ref() == Some(operation))
}

/// The options of an operation that it has, and the operation itself, whose path is empty.
fn parts(operation: &Document) -> Vec<Part> {
    let name = operation.get_str("name").expect("the name");
    let arguments = operation.get_document("arguments").expect("the arguments");
    let of_table = crate::operations::named(name).expect("an operation of the table");
    let mut parts = vec![Part {
        name: name.to_owned(),
        path: Vec::new(),
    }];
    let field = |name: &str| Step::Field(name.to_owned());
    for option in of_table.options {
        if let Some(value) = arguments.get(option.name) {
            let path = vec![field("arguments"), field(option.name)];
            inside(option.name, value, &path, &mut parts);
            let name = format!("{name}.{}", option.name);
            parts.push(Part { name, path });
        }
    }
    for list in ["models", "indexes"] {
        let elements = arguments.get_array(list).into_iter().flatten();
        for (index, element) in elements.filter_map(Bson::as_document).enumerate() {
            let kind = match element.get_str("model") {
                Ok(kind) => format!("{name}.{kind}"),
                Err(_) if list == "indexes" => "index".to_owned(),
                Err(_) => "search index".to_owned(),
            };
            for (option, value) in element {
                if OF_EVERY_MODEL.contains(&option.as_str()) {
                    continue;
                }
                let path = vec![
                    field("arguments"),
                    field(list),
                    Step::Element(index),
                    field(option),
                ];
                inside(option, value, &path, &mut parts);
                let name = format!("{kind}.{option}");
                parts.push(Part { name, path });
            }
        }
    }
    parts
}

/// The parts of the value of an option.
fn inside(option: &str, value: &Bson, path: &[Step], parts: &mut Vec<Part>) {
    let fields = match option {
        "collation" => COLLATION,
        _ => {
            let other = OTHER_PARTS.iter().find(|(name, _)| *name == option);
            other.map_or(&[][..], |(_, fields)| fields)
        }
    };
    let document = value.as_document();
    for field in fields
        .iter()
        .filter(|field| document.is_some_and(|it| it.contains_key(field)))
    {
        let mut path = path.to_vec();
        path.push(Step::Field((*field).to_owned()));
        let name = format!("{option}.{field}");
        parts.push(Part { name, path });
    }
}

/// The fields of models and indexes that are not options.
const OF_EVERY_MODEL: &[&str] = &[
    "collection",
    "definition",
    "document",
    "filter",
    "key",
    "model",
    "replacement",
    "update",
];

/// The names of all parts.
fn expected() -> impl Iterator<Item = String> {
    let operations = OPERATIONS.iter().flat_map(|operation| {
        let options = operation.options.iter().map(|option| option.name);
        let options = options.map(|option| format!("{}.{option}", operation.name));
        options.chain([operation.name.to_owned()])
    });
    let models = ["bulkWrite", "clientBulkWrite"]
        .into_iter()
        .flat_map(|operation| {
            let models = MODELS.iter().flat_map(|(model, options)| {
                options
                    .iter()
                    .map(move |option| format!("{model}.{option}"))
            });
            models.map(move |model| format!("{operation}.{model}"))
        });
    let collation = COLLATION.iter().map(|field| format!("collation.{field}"));
    let index = INDEX.iter().map(|option| format!("index.{option}"));
    let search = ["name", "type"]
        .into_iter()
        .map(|option| format!("search index.{option}"));
    let others = OTHER_PARTS
        .iter()
        .flat_map(|(option, fields)| fields.iter().map(move |field| format!("{option}.{field}")));
    operations
        .chain(models)
        .chain(collation)
        .chain(index)
        .chain(search)
        .chain(others)
}

/// Removes the value at a path of fields and elements.
fn remove(operation: &mut Document, path: &[Step]) {
    let Some((Step::Field(name), rest)) = path.split_first() else {
        unreachable!("a path begins with a field");
    };
    let Some((next, after)) = rest.split_first() else {
        operation.remove(name);
        return;
    };
    let value = operation.get_mut(name).expect("the path exists");
    let inner = match (next, value) {
        (Step::Field(_), Bson::Document(inner)) => return remove(inner, rest),
        (Step::Element(index), Bson::Array(elements)) => elements[*index].as_document_mut(),
        _ => unreachable!("the path exists"),
    };
    remove(inner.expect("a document"), after);
}
