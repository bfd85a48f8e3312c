//! An explanation → findings: what costs time in the plan, and what to do about it.
//!
//! A finding has a code, which never changes its meaning, and the words for the user. Numbers of several shards are added
//! up. What the server does not report leads to no finding.

use mongotls::bson::{Bson, Document, doc};
use serde_json::Value;

use super::command::{Explained, Shape};
use super::plan::{Explanation, Lookup, Plan, Spill};
use crate::extended_json::relaxed;

/// One finding.
#[derive(Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) code: &'static str,
    /// True if it costs time that could be saved. Otherwise it is a note.
    pub(super) is_problem: bool,
    pub(super) message: String,
    pub(super) remedy: Option<String>,
}

impl Finding {
    fn problem(code: &'static str, message: String, remedy: impl Into<Option<String>>) -> Self {
        Self {
            code,
            is_problem: true,
            message,
            remedy: remedy.into(),
        }
    }

    fn note(code: &'static str, message: String, remedy: impl Into<Option<String>>) -> Self {
        let is_problem = false;
        Self {
            is_problem,
            ..Self::problem(code, message, remedy)
        }
    }
}

/// Judges an explanation. `indexes` are those of the collection, as `listIndexes` describes them, if they are known.
pub(super) fn judge(
    explanation: &Explanation,
    explained: &Explained,
    indexes: Option<&[Document]>,
) -> Vec<Finding> {
    let case = Case {
        explanation,
        explained,
        indexes,
    };
    if explanation.plans.is_empty() && explanation.pipeline.is_empty() {
        let message = "the reply of the server has no plan that mongotls knows".to_owned();
        let remedy = "mongotls explain --json prints the reply".to_owned();
        return vec![Finding::problem("unknown-plan", message, remedy)];
    }
    let mut findings = Vec::new();
    findings.extend(case.failure());
    findings.extend(case.missing_collection());
    findings.extend(case.collection_scan());
    findings.extend(case.unused_indexes());
    findings.extend(case.examined());
    findings.extend(case.sort());
    findings.extend(case.spills());
    findings.extend(case.lookups());
    findings.extend(case.intersection());
    findings.extend(case.shards());
    findings
}

/// Fewer documents than these cost too little to be a problem.
const FEW: u64 = 100;
/// More documents than these for each match are a problem.
const RATIO: u64 = 10;

struct Case<'a> {
    explanation: &'a Explanation,
    explained: &'a Explained,
    indexes: Option<&'a [Document]>,
}

impl Case<'_> {
    fn shape(&self) -> &Shape {
        &self.explained.shape
    }

    fn plans(&self) -> &[Plan] {
        &self.explanation.plans
    }

    /// The shards of the plans for which this is true, as the end of a sentence. Empty without shards.
    fn shards_with(&self, is_so: impl Fn(&Plan) -> bool) -> Option<String> {
        let plans: Vec<&Plan> = self.plans().iter().filter(|plan| is_so(plan)).collect();
        let names = plans.iter().filter_map(|plan| plan.shard.as_deref());
        let names: Vec<&str> = names.collect();
        match (plans.is_empty(), names.as_slice()) {
            (true, _) => None,
            (_, []) => Some(String::new()),
            (_, [name]) => Some(format!(" on the shard {name}")),
            (_, [names @ .., last]) => {
                Some(format!(" on the shards {} and {last}", names.join(", ")))
            }
        }
    }

    /// The command that creates the index with this key.
    fn create(&self, collection: &str, key: &Document) -> String {
        let part = |(field, direction): (&String, &Bson)| match direction {
            Bson::Double(direction) => format!("{field}_{direction:.0}"),
            direction => format!("{field}_{direction}"),
        };
        let parts: Vec<String> = key.iter().map(part).collect();
        let mut index = doc! { "key": key, "name": parts.join("_") };
        if let Some(collation) = &self.shape().collation {
            index.insert("collation", collation);
        }
        json(&doc! { "createIndexes": collection, "indexes": [index] })
    }

    /// The advice to create the index that serves the command best, unless it exists.
    fn best_index(&self) -> Option<String> {
        let key = self.shape().best_key()?;
        let is_there =
            |index: &Document| index.get_document("key").is_ok_and(|other| *other == key);
        if self.indexes.into_iter().flatten().any(is_there) {
            return None;
        }
        let collection = self.explained.collection.as_deref()?;
        Some(format!(
            "create an index: {}",
            self.create(collection, &key)
        ))
    }

    fn failure(&self) -> Option<Finding> {
        let error = self.plans().iter().find_map(|plan| plan.error.as_ref())?;
        let place = self.shards_with(|plan| plan.error.is_some())?;
        let message = format!("the execution failed{place}: {error}");
        Some(Finding::problem("execution-failed", message, None))
    }

    fn missing_collection(&self) -> Option<Finding> {
        let place = self.shards_with(|plan| plan.has(&["EOF"]))?;
        let message = format!(
            "nothing is read{place}: the collection does not exist, or the filter cannot match any document"
        );
        Some(Finding::note("nothing-read", message, None))
    }

    fn collection_scan(&self) -> Option<Finding> {
        const CODE: &str = "collection-scan";
        let place = self.shards_with(Plan::scans_collection)?;
        let docs = self.explanation.sum(|plan| plan.docs_examined);
        let all = docs.map_or("all documents".to_owned(), |docs| {
            count(docs, "document", "documents")
        });
        let what = format!("the whole collection is read{place} ({all})");
        let shape = self.shape();
        if shape.is_natural {
            let remedy =
                "remove $natural from the hint or the sort, so that the server can use an index";
            let message =
                format!("{what}, because the command asks for the order on disk ($natural)");
            return Some(Finding::note(CODE, message, remedy.to_owned()));
        }
        if !shape.has_filter {
            let message = format!("{what}, because the command has no filter");
            let remedy = "add a filter, unless all documents are needed".to_owned();
            return Some(Finding::note(CODE, message, remedy));
        }
        let message = format!("{what}, because no index serves the filter");
        let remedy = match shape.has_alternatives {
            true => "each branch of $or needs an index that serves it".to_owned(),
            false => {
                self.best_index()
                    .unwrap_or_else(|| match shape.fields().next() {
                        Some(_) => "see the finding about the index that is not used".to_owned(),
                        None => "no index can serve such a filter: add a condition on a field"
                            .to_owned(),
                    })
            }
        };
        let is_small = docs.is_some_and(|docs| docs <= FEW);
        Some(match is_small {
            true => Finding::note(CODE, message, remedy),
            false => Finding::problem(CODE, message, remedy),
        })
    }

    /// Indexes that begin with a field of the filter, although the collection is read as a whole.
    fn unused_indexes(&self) -> Vec<Finding> {
        if !self.plans().iter().any(Plan::scans_collection) || self.shape().is_natural {
            return Vec::new();
        }
        let used: Vec<&str> = self.plans().iter().flat_map(Plan::indexes).collect();
        let mut findings = Vec::new();
        for index in self.indexes.into_iter().flatten() {
            let name = index.get_str("name").unwrap_or_default();
            let key = index.get_document("key").ok();
            let first = key.and_then(|key| key.keys().next());
            let named = first.filter(|first| self.shape().fields().any(|field| field == *first));
            let Some(field) = named.filter(|_| !used.contains(&name)) else {
                continue;
            };
            let (why, remedy) = self.reason_against(name, index);
            let message = format!(
                "the index {name:?} begins with {field:?}, which the filter names, but it is not used: {why}"
            );
            findings.push(Finding::problem("unused-index", message, remedy));
        }
        findings
    }

    /// The likely reason why an index is not used, and the remedy.
    fn reason_against(&self, name: &str, index: &Document) -> (String, String) {
        let collection = self.explained.collection.as_deref().unwrap_or_default();
        if index.get("hidden") == Some(&Bson::Boolean(true)) {
            let show = doc! { "collMod": collection, "index": { "name": name, "hidden": false } };
            let remedy = format!("show it: {}", json(&show));
            return ("it is hidden".to_owned(), remedy);
        }
        if let Ok(filter) = index.get_document("partialFilterExpression") {
            let why = format!("it has only the documents that match {}", json(filter));
            let remedy = "add this condition to the filter, or create an index of all documents";
            return (why, remedy.to_owned());
        }
        let locale = |collation: Option<&Document>| {
            let locale = collation.and_then(|collation| collation.get_str("locale").ok());
            locale.unwrap_or("simple").to_owned()
        };
        let of_index = locale(index.get_document("collation").ok());
        let of_command = locale(self.shape().collation.as_ref());
        if of_index != of_command {
            let why =
                format!("its collation is {of_index:?}, and that of the command is {of_command:?}");
            let remedy = "send the command with the collation of the index".to_owned();
            return (why, remedy);
        }
        if self.shape().has_alternatives {
            let why = "the filter has $or, and a branch of it has no index".to_owned();
            return (
                why,
                "each branch of $or needs an index that serves it".to_owned(),
            );
        }
        if index.get("sparse") == Some(&Bson::Boolean(true)) {
            let why = "it is sparse, so it lacks the documents without the field".to_owned();
            return (why, "create an index that is not sparse".to_owned());
        }
        let why = "its field has a condition that an index serves badly or not at all".to_owned();
        let remedy = "replace $ne, $nin, $not, and a regular expression that does not begin with ^; \
                      or request the index with a hint, and compare";
        (why, remedy.to_owned())
    }

    /// Many documents or keys for few matches.
    fn examined(&self) -> Option<Finding> {
        if !self.shape().has_filter {
            return None;
        }
        let matched = self.explanation.sum(|plan| plan.matched)?;
        let docs = self.explanation.sum(|plan| plan.docs_examined)?;
        let keys = self.explanation.sum(|plan| plan.keys_examined).unwrap_or(0);
        let most = docs.max(keys);
        if most <= FEW || most / RATIO < matched.max(1) {
            return None;
        }
        let message = format!(
            "{} and {} are examined, and {} match",
            count(docs, "document", "documents"),
            count(keys, "index key", "index keys"),
            count(matched, "document", "documents"),
        );
        let used: Vec<&str> = self.plans().iter().flat_map(Plan::indexes).collect();
        let best = self.best_index();
        let remedy = match (used.first(), best) {
            (Some(used), Some(best)) => {
                format!("the index {used:?} does not select enough; {best}")
            }
            (Some(used), None) => format!(
                "the index {used:?} does not select enough: add a condition on another field, or another index"
            ),
            (None, Some(best)) => best,
            (None, None) => return None,
        };
        Some(Finding::problem("many-examined", message, remedy))
    }

    fn sort(&self) -> Option<Finding> {
        const CODE: &str = "in-memory-sort";
        let is_sort = |plan: &Plan| plan.has(&["SORT"]);
        let of_pipeline = || {
            let mut stages = self.explanation.pipeline.iter();
            let stage = stages.find(|stage| stage.name == "$sort")?;
            let place = stage.shard.as_ref();
            let place = place.map_or(String::new(), |shard| format!(" on the shard {shard}"));
            // Behind $group, $lookup and the like no index can help.
            let is_first = self.explanation.pipeline.first()?.name == "$sort";
            Some((place, stage.input, is_first))
        };
        let of_plan = || {
            let place = self.shards_with(is_sort)?;
            let inputs = self.plans().iter().filter_map(|plan| plan.input_of("SORT"));
            let first = |plan: &Plan| plan.stages.iter().position(|stage| stage.name == "SORT");
            let is_above_group = |plan: &Plan| {
                let group = plan.stages.iter().position(|stage| stage.name == "GROUP");
                first(plan).is_some_and(|sort| group.is_some_and(|group| sort < group))
            };
            let is_direct = !self.plans().iter().any(is_above_group);
            Some((place, inputs.sum::<Option<u64>>(), is_direct))
        };
        let (place, input, is_direct) = of_plan().or_else(of_pipeline)?;
        let all = input.map_or("the documents".to_owned(), |input| {
            count(input, "document", "documents")
        });
        let message = format!("{all} are sorted in memory{place}, because no index has this order");
        let remedy = match is_direct {
            true => self.best_index().unwrap_or_else(|| {
                "an index with the fields of the sort in this order avoids the sort".to_owned()
            }),
            false => {
                "an index cannot help behind $group and the like: sort fewer documents".to_owned()
            }
        };
        Some(match input.is_some_and(|input| input <= FEW) {
            true => Finding::note(CODE, message, remedy),
            false => Finding::problem(CODE, message, remedy),
        })
    }

    fn spills(&self) -> Vec<Finding> {
        let of_plans = self.plans().iter();
        let of_plans =
            of_plans.flat_map(|plan| plan.spills.iter().map(|spill| (&plan.shard, spill)));
        let of_pipeline = self.explanation.pipeline.iter();
        let of_pipeline =
            of_pipeline.flat_map(|stage| stage.spills.iter().map(|spill| (&stage.shard, spill)));
        let finding = |(shard, spill): (&Option<String>, &Spill)| {
            let place = shard.as_ref();
            let place = place.map_or(String::new(), |shard| format!(" on the shard {shard}"));
            let mut numbers = Vec::new();
            if let Some(times) = spill.times {
                numbers.push(count(times, "time", "times"));
            }
            if let Some(bytes) = spill.bytes {
                numbers.push(count(bytes, "byte", "bytes"));
            }
            let numbers = match numbers.is_empty() {
                true => String::new(),
                false => format!(" ({})", numbers.join(", ")),
            };
            let message = format!(
                "the stage {} needed more memory than the server allows, and used files{place}{numbers}",
                spill.stage
            );
            let is_sort = spill.stage.to_lowercase().contains("sort");
            let best = self.best_index().filter(|_| is_sort);
            let remedy = best.unwrap_or_else(|| {
                "let the stage have fewer or smaller documents: $match, $limit and $project in front of it"
                    .to_owned()
            });
            Finding::problem("spilled-to-disk", message, remedy)
        };
        of_plans.chain(of_pipeline).map(finding).collect()
    }

    fn lookups(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let create = |collection: &str, field: Option<&str>| match field {
            Some(field) => {
                let index = doc! { "key": { field: 1 }, "name": format!("{field}_1") };
                let create = doc! { "createIndexes": collection, "indexes": [index] };
                format!("create an index: {}", json(&create))
            }
            None => format!("create an index of {collection} for the $match of the pipeline"),
        };
        for lookup in self
            .explanation
            .pipeline
            .iter()
            .filter_map(|stage| stage.lookup.as_ref())
        {
            if lookup.collection_scans == 0 {
                continue;
            }
            let Lookup {
                from,
                docs_examined,
                ..
            } = lookup;
            let scans = count(lookup.collection_scans, "time", "times");
            let docs = docs_examined.map_or(String::new(), |docs| {
                format!(", {} in all", count(docs, "document", "documents"))
            });
            let message = format!("$lookup reads the whole collection {from} {scans}{docs}");
            let remedy = create(from, lookup.foreign_field.as_deref());
            findings.push(Finding::problem("lookup-scan", message, remedy));
        }
        let stages = self.plans().iter().flat_map(|plan| &plan.stages);
        for [from, field, strategy] in stages.filter_map(|stage| stage.join.as_ref()) {
            if strategy != "NestedLoopJoin" {
                continue;
            }
            // The reply has `db.collection`.
            let collection = from.split_once('.').map_or(from.as_str(), |(_, name)| name);
            let message =
                format!("$lookup reads the whole collection {from} for each of its documents");
            let remedy = create(
                collection,
                Some(field.as_str()).filter(|field| !field.is_empty()),
            );
            findings.push(Finding::problem("lookup-scan", message, remedy));
        }
        findings
    }

    fn intersection(&self) -> Option<Finding> {
        let place = self.shards_with(|plan| plan.has(&["AND_HASH", "AND_SORTED"]))?;
        let message = format!("the results of several indexes are intersected{place}");
        Some(Finding::note(
            "index-intersection",
            message,
            self.best_index(),
        ))
    }

    fn shards(&self) -> Option<Finding> {
        let shards = self
            .plans()
            .iter()
            .filter(|plan| plan.shard.is_some())
            .count();
        if shards < 2 || !self.shape().has_filter {
            return None;
        }
        let message = format!(
            "{shards} shards are asked, because the filter does not select one by the shard key"
        );
        let remedy = "add the shard key to the filter, if the program knows it".to_owned();
        Some(Finding::note("all-shards", message, remedy))
    }
}

/// A number with its unit.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    let unit = if number == 1 { one } else { many };
    format!("{text} {unit}")
}

/// A document as Extended JSON on one line.
fn json(document: &Document) -> String {
    Value::to_string(&relaxed(document.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_groups_of_digits() {
        for (number, expected) in [
            (0, "0 keys"),
            (1, "1 key"),
            (999, "999 keys"),
            (1_000, "1,000 keys"),
            (1_234_567, "1,234,567 keys"),
        ] {
            assert_eq!(count(number, "key", "keys"), expected);
        }
    }
}
