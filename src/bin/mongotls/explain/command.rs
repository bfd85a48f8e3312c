//! The command that is explained: whether it can be, and what its filter and its sort name.
//!
//! In: a command of the user. Out: the command `explain` for it, and its shape, from which the judge derives an index.

use mongotls::bson::{Bson, Document, doc};

/// A command that the server can explain.
#[derive(Debug)]
pub(super) struct Explained {
    pub(super) name: String,
    /// The collection. `None` for an aggregation of a database.
    pub(super) collection: Option<String>,
    pub(super) shape: Shape,
    command: Document,
    /// The fields that belong to `explain` itself.
    outer: Document,
}

/// The fields that a filter and a sort name, as far as an index can serve them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) has_filter: bool,
    /// The fields that are compared for equality.
    pub(super) equal: Vec<String>,
    /// The fields of the sort, with their directions.
    pub(super) sort: Document,
    /// The fields with other conditions.
    pub(super) range: Vec<String>,
    /// True if the filter has `$or`.
    pub(super) has_alternatives: bool,
    /// True if the program asks for the order on disk (`$natural`).
    pub(super) is_natural: bool,
    pub(super) collation: Option<Document>,
}

impl Explained {
    /// Checks a command. The error is a message for the user.
    ///
    /// MongoDB does not run a pipeline that writes in order to explain it ("explain", "Restrictions"), and a server that
    /// is not MongoDB could write. So such a pipeline is not sent.
    pub(super) fn new(mut command: Document) -> Result<Self, String> {
        if let Some(Bson::Document(inner)) = command.get("explain") {
            command = inner.clone();
        }
        let name = command.keys().next().cloned().unwrap_or_default();
        // Servers also take some names in lower case.
        if !EXPLAINABLE
            .iter()
            .any(|known| known.eq_ignore_ascii_case(&name))
        {
            let (last, others) = EXPLAINABLE.split_last().unwrap_or((&"", &[]));
            let others = others.join(", ");
            return Err(format!("explain takes the commands {others} and {last}"));
        }
        if writes_results(&command) {
            return Err(
                "explain does not take $out, $merge and the out of mapReduce: MongoDB does not \
                 execute them to explain them. Remove them from the command"
                    .to_owned(),
            );
        }
        // A time limit inside of the explained command has no effect, and a write concern is an error.
        let mut outer = Document::new();
        if let Some(limit) = command.remove("maxTimeMS") {
            outer.insert("maxTimeMS", limit);
        }
        command.remove("writeConcern");
        let collection = command.get_str(&name).ok().map(str::to_owned);
        Ok(Self {
            collection,
            shape: Shape::of(&name, &command),
            name,
            command,
            outer,
        })
    }

    /// The command to send.
    pub(super) fn explain(&self) -> Document {
        let mut explain = doc! { "explain": &self.command, "verbosity": "executionStats" };
        explain.extend(self.outer.clone());
        explain
    }
}

/// The commands that servers explain.
const EXPLAINABLE: [&str; 8] = [
    "aggregate",
    "count",
    "delete",
    "distinct",
    "find",
    "findAndModify",
    "mapReduce",
    "update",
];

/// Returns whether an aggregation or `mapReduce` stores its results.
fn writes_results(command: &Document) -> bool {
    let is_writing = |stage: &Bson| {
        let stage = stage.as_document();
        stage.is_some_and(|stage| stage.keys().any(|name| name == "$out" || name == "$merge"))
    };
    let pipeline = command.get_array("pipeline").into_iter().flatten();
    let is_inline = |out: &Bson| {
        let out = out.as_document();
        out.is_some_and(|out| out.contains_key("inline"))
    };
    let mut stages = pipeline;
    stages.any(is_writing) || command.get("out").is_some_and(|out| !is_inline(out))
}

impl Shape {
    fn of(name: &str, command: &Document) -> Self {
        let mut shape = Self::default();
        let statement = match name {
            "update" => first(command, "updates"),
            "delete" => first(command, "deletes"),
            _ => Some(command),
        };
        let Some(statement) = statement else {
            return shape;
        };
        for key in ["filter", "query", "q"] {
            if let Ok(filter) = statement.get_document(key) {
                shape.read_filter(filter);
            }
        }
        if let Ok(sort) = statement.get_document("sort") {
            shape.read_sort(sort);
        }
        if let Ok(key) = statement.get_str("key") {
            shape.range.push(key.to_owned());
        }
        shape.read_pipeline(statement);
        if let Ok(hint) = statement.get_document("hint") {
            shape.is_natural |= hint.contains_key("$natural");
        }
        shape.collation = statement.get_document("collation").ok().cloned();
        shape
    }

    /// Reads the stages at the beginning of a pipeline that can use an index.
    fn read_pipeline(&mut self, command: &Document) {
        let stages = command.get_array("pipeline").into_iter().flatten();
        for stage in stages.filter_map(Bson::as_document) {
            if let Ok(filter) = stage.get_document("$match") {
                self.read_filter(filter);
            } else if let Ok(sort) = stage.get_document("$sort") {
                return self.read_sort(sort);
            } else {
                return;
            }
        }
    }

    fn read_sort(&mut self, sort: &Document) {
        self.is_natural |= sort.contains_key("$natural");
        let is_direction =
            |value: &Bson| matches!(value, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_));
        if !self.is_natural && sort.values().all(is_direction) {
            self.sort = sort.clone();
        }
    }

    fn read_filter(&mut self, filter: &Document) {
        for (field, condition) in filter {
            match (field.as_str(), condition) {
                ("$comment", _) => continue,
                ("$and", Bson::Array(parts)) => {
                    for part in parts.iter().filter_map(Bson::as_document) {
                        self.read_filter(part);
                    }
                }
                ("$or", _) => self.has_alternatives = true,
                (field, _) if field.starts_with('$') => {}
                (field, condition) => self.read_condition(field, condition),
            }
            self.has_filter = true;
        }
    }

    fn read_condition(&mut self, field: &str, condition: &Bson) {
        let operators: Vec<&str> = match condition {
            Bson::Document(operators) => operators.keys().map(String::as_str).collect(),
            Bson::RegularExpression(_) => vec!["$regex"],
            _ => Vec::new(),
        };
        let has_operators = operators.first().is_some_and(|name| name.starts_with('$'));
        let fields = match operators.iter().any(|name| ["$eq", "$in"].contains(name)) {
            true => &mut self.equal,
            false if has_operators => &mut self.range,
            false => &mut self.equal,
        };
        if !fields.iter().any(|known| known == field) {
            fields.push(field.to_owned());
        }
    }

    /// All fields that the filter names.
    pub(super) fn fields(&self) -> impl Iterator<Item = &String> {
        self.equal.iter().chain(&self.range)
    }

    /// The key of the index that serves the command best: fields for equality, then the sort, then the others. `None` if
    /// no index can serve it.
    pub(super) fn best_key(&self) -> Option<Document> {
        let mut key = Document::new();
        for field in &self.equal {
            key.insert(field, 1);
        }
        for (field, direction) in &self.sort {
            if !key.contains_key(field) {
                key.insert(field, direction);
            }
        }
        for field in &self.range {
            if !key.contains_key(field) {
                key.insert(field, 1);
            }
        }
        Some(key).filter(|key| !key.is_empty())
    }
}

/// The first statement of a write.
fn first<'a>(command: &'a Document, field: &str) -> Option<&'a Document> {
    command.get_array(field).ok()?.first()?.as_document()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(command: Document) -> Shape {
        Explained::new(command).unwrap().shape
    }

    #[test]
    fn the_best_index_has_equality_then_sort_then_range() {
        let filter = doc! { "n": { "$gt": 5 }, "$and": [{ "kind": "a" }, { "tag": { "$in": [1] } }], "r": { "$regex": "^a" } };
        let sort = doc! { "at": -1, "kind": 1 };
        let expected = Some(doc! { "kind": 1, "tag": 1, "at": -1, "n": 1, "r": 1 });
        let pipeline = [
            doc! { "$match": &filter },
            doc! { "$sort": &sort },
            doc! { "$match": { "x": 1 } },
        ];
        for command in [
            doc! { "find": "c", "filter": &filter, "sort": &sort },
            doc! { "findAndModify": "c", "query": &filter, "sort": &sort, "remove": true },
            doc! { "aggregate": "c", "pipeline": pipeline.to_vec(), "cursor": {} },
            doc! { "update": "c", "updates": [{ "q": &filter, "u": {}, "sort": &sort }] },
            doc! { "explain": { "find": "c", "filter": &filter, "sort": &sort } },
        ] {
            let shape = shape(command);
            assert!(shape.has_filter);
            assert_eq!(shape.best_key(), expected);
        }
        let distinct = shape(doc! { "distinct": "c", "key": "k", "query": { "a": { "b": 1 } } });
        assert_eq!(distinct.best_key(), Some(doc! { "a": 1, "k": 1 }));
        let delete = shape(
            doc! { "delete": "c", "deletes": [{ "q": { "$or": [{ "a": 1 }] }, "limit": 0 }] },
        );
        assert!(delete.has_filter && delete.has_alternatives);
        assert_eq!(delete.best_key(), None);
        let whole = shape(doc! { "find": "c", "filter": {}, "sort": { "$natural": -1 } });
        assert!(!whole.has_filter && whole.is_natural && whole.best_key().is_none());
    }

    #[test]
    fn commands_that_write_or_have_no_plan_are_not_sent() {
        let complaint = |command| Explained::new(command).unwrap_err();
        for command in [
            doc! { "aggregate": "c", "pipeline": [{ "$match": {} }, { "$out": "d" }] },
            doc! { "aggregate": 1, "pipeline": [{ "$merge": { "into": "d" } }] },
            doc! { "mapReduce": "c", "out": "d" },
            doc! { "explain": { "aggregate": "c", "pipeline": [{ "$out": "d" }] } },
        ] {
            assert!(complaint(command).starts_with("explain does not take $out"));
        }
        for command in [doc! { "insert": "c" }, doc! { "drop": "c" }, doc! {}] {
            let expected = "explain takes the commands aggregate, count, delete, distinct, find, findAndModify, \
                            mapReduce and update";
            assert_eq!(complaint(command), expected);
        }
        let inline = doc! { "mapReduce": "c", "out": { "inline": 1 } };
        assert!(Explained::new(inline).is_ok());
    }

    #[test]
    fn fields_of_explain_are_not_those_of_the_command() {
        let delete =
            doc! { "delete": "c", "deletes": [], "maxTimeMS": 5, "writeConcern": { "w": 0 } };
        let expected = doc! { "explain": { "delete": "c", "deletes": [] }, "verbosity": "executionStats", "maxTimeMS": 5 };
        assert_eq!(Explained::new(delete).unwrap().explain(), expected);
    }
}
