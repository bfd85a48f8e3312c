//! The reply to `explain` → the plans in it, in one form for all versions and both query engines of MongoDB.
//!
//! A reply has one plan, or one for each shard. An aggregation whose pipeline is not a part of the plan has it in a stage
//! `$cursor`, and its other stages beside it. The classic engine reports the execution in the form of the plan. The
//! slot-based engine has stages of its own there; their `planNodeId` names the stage of the plan. Fields that are missing
//! are unknown, never zero. Source: "Explain Results" of MongoDB's manual.

use mongotls::bson::{Bson, Document};

/// What a server says about the execution of a command.
#[derive(Debug, Default)]
pub(super) struct Explanation {
    pub(super) plans: Vec<Plan>,
    /// The stages of a pipeline that are not a part of a plan.
    pub(super) pipeline: Vec<PipelineStage>,
    /// The host and the version of the server.
    pub(super) server: Option<String>,
}

/// The plan of one server.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) shard: Option<String>,
    pub(super) namespace: Option<String>,
    /// The stages of the plan, each before those that it reads from.
    pub(super) stages: Vec<Stage>,
    /// True if the slot-based engine runs it.
    pub(super) is_slot_based: bool,
    /// The documents that match: those that leave the plan, or that are counted, grouped or changed in it.
    pub(super) matched: Option<u64>,
    pub(super) keys_examined: Option<u64>,
    pub(super) docs_examined: Option<u64>,
    pub(super) millis: Option<u64>,
    pub(super) spills: Vec<Spill>,
    /// The reason why the execution failed.
    pub(super) error: Option<String>,
}

/// A stage of a plan.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) name: String,
    depth: usize,
    node_id: Option<u64>,
    pub(super) index: Option<String>,
    /// True if the stage reads only a part of the collection, by its clustered key.
    pub(super) is_bounded: bool,
    /// The foreign collection, its field, and the strategy of a join.
    pub(super) join: Option<[String; 3]>,
    /// The documents that leave the stage.
    pub(super) returned: Option<u64>,
}

/// A stage of a pipeline.
#[derive(Debug)]
pub(super) struct PipelineStage {
    /// The name, such as `$sort`.
    pub(super) name: String,
    pub(super) shard: Option<String>,
    /// The documents that enter the stage.
    pub(super) input: Option<u64>,
    pub(super) spills: Vec<Spill>,
    pub(super) lookup: Option<Lookup>,
}

/// What `$lookup` has read.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) from: String,
    pub(super) foreign_field: Option<String>,
    pub(super) collection_scans: u64,
    pub(super) docs_examined: Option<u64>,
}

/// A stage that has used files.
#[derive(Debug, PartialEq)]
pub(super) struct Spill {
    pub(super) stage: String,
    pub(super) times: Option<u64>,
    pub(super) bytes: Option<u64>,
}

impl Explanation {
    /// Reads a reply.
    pub(super) fn read(reply: &Document) -> Self {
        let mut read = Self::default();
        match reply.get_document("shards") {
            Ok(shards) => {
                for (shard, part) in shards {
                    if let Bson::Document(part) = part {
                        read.read_part(part, Some(shard));
                    }
                }
            }
            Err(_) => read.read_part(reply, None),
        }
        read.server = server(reply);
        read
    }

    /// The sum of a number over all plans, if each has it.
    pub(super) fn sum(&self, number: impl Fn(&Plan) -> Option<u64>) -> Option<u64> {
        let numbers = self.plans.iter().map(number);
        let sum = numbers.sum::<Option<u64>>();
        sum.filter(|_| !self.plans.is_empty())
    }

    fn read_part(&mut self, part: &Document, shard: Option<&str>) {
        if let Ok(stages) = part.get_array("stages") {
            let mut input = None;
            for stage in stages.iter().filter_map(Bson::as_document) {
                input = self.read_stage(stage, shard, input);
            }
            return;
        }
        let Ok(planner) = part.get_document("queryPlanner") else {
            return;
        };
        let stats = part.get_document("executionStats").ok();
        let of_shards = planner.get_document("winningPlan");
        let of_shards = of_shards.and_then(|plan| plan.get_array("shards"));
        let Ok(of_shards) = of_shards else {
            self.plans.push(Plan::read(planner, stats, shard));
            return;
        };
        let executed = stats.and_then(|stats| stats.get_document("executionStages").ok());
        let executed = executed.and_then(|stages| stages.get_array("shards").ok());
        for planner in of_shards.iter().filter_map(Bson::as_document) {
            let name = planner.get_str("shardName").ok();
            let is_same = |stats: &&Document| stats.get_str("shardName").ok() == name;
            let mut all = executed.into_iter().flatten().filter_map(Bson::as_document);
            let stats = all.find(is_same);
            self.plans.push(Plan::read(planner, stats, name));
        }
    }

    /// Reads a stage of a pipeline, which gets `input` documents. Returns the number of documents that leave it.
    fn read_stage(
        &mut self,
        stage: &Document,
        shard: Option<&str>,
        input: Option<u64>,
    ) -> Option<u64> {
        let (name, body) = stage.iter().find(|(name, _)| name.starts_with('$'))?;
        let returned = number(stage, "nReturned");
        let body = body.as_document();
        // `$cursor` and `$geoNearCursor` have a plan.
        if name.ends_with("ursor") {
            let body = body?;
            let found = self.plans.len();
            self.read_part(body, shard);
            let matched = self.plans.get(found).and_then(|plan| plan.matched);
            return returned.or(matched);
        }
        let mut spills = Vec::new();
        find_spills(stage, name, &mut spills);
        let lookup = body.filter(|_| name == "$lookup").map(|body| Lookup {
            from: body.get_str("from").unwrap_or_default().to_owned(),
            foreign_field: body.get_str("foreignField").ok().map(str::to_owned),
            collection_scans: number(stage, "collectionScans").unwrap_or(0),
            docs_examined: number(stage, "totalDocsExamined"),
        });
        self.pipeline.push(PipelineStage {
            name: name.clone(),
            shard: shard.map(str::to_owned),
            input,
            spills,
            lookup,
        });
        returned
    }
}

impl Plan {
    /// Reads a plan from `queryPlanner` and `executionStats`, or from the parts of them that belong to a shard.
    fn read(planner: &Document, stats: Option<&Document>, shard: Option<&str>) -> Self {
        let mut plan = Self {
            shard: shard.map(str::to_owned),
            namespace: planner.get_str("namespace").ok().map(str::to_owned),
            ..Self::default()
        };
        let winning = planner.get_document("winningPlan").ok();
        let slot_based = winning.and_then(|winning| winning.get_document("queryPlan").ok());
        plan.is_slot_based = winning.is_some_and(|winning| winning.contains_key("slotBasedPlan"));
        if let Some(root) = slot_based.or(winning) {
            read_stages(root, 0, &mut plan.stages);
        }
        let Some(stats) = stats else {
            return plan;
        };
        plan.keys_examined = number(stats, "totalKeysExamined");
        plan.docs_examined = number(stats, "totalDocsExamined");
        plan.millis = number(stats, "executionTimeMillis");
        let root = stats.get_document("executionStages").ok();
        // Behind a router the stages of a shard are one level deeper in some versions.
        let root = root.map(|root| root.get_document("executionStages").unwrap_or(root));
        if let Some(root) = root {
            let mut executed = Vec::new();
            read_stages(root, 0, &mut executed);
            assign_returned(&mut plan.stages, &executed);
            find_spills(root, "", &mut plan.spills);
        }
        let of_root = number(stats, "nReturned");
        plan.matched = plan.matched_by_stages().or(of_root);
        if stats.get("executionSuccess") == Some(&Bson::Boolean(false)) {
            let message = stats.get_str("errorMessage");
            plan.error = Some(message.unwrap_or("the execution failed").to_owned());
        }
        plan
    }

    /// The documents that enter the topmost stages that count, group or change documents, if there are such stages.
    fn matched_by_stages(&self) -> Option<u64> {
        let consumes = |stage: &&Stage| CONSUMING.contains(&stage.name.as_str());
        let consuming = self.stages.iter().take_while(consumes).count();
        let below = self.stages.get(consuming)?;
        below.returned.filter(|_| consuming > 0)
    }

    /// Returns whether the plan has a stage with one of these names.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        let mut stages = self.stages.iter();
        stages.any(|stage| names.contains(&stage.name.as_str()))
    }

    /// Returns whether the plan reads a whole collection.
    pub(super) fn scans_collection(&self) -> bool {
        let mut stages = self.stages.iter();
        stages.any(|stage| stage.name == "COLLSCAN" && !stage.is_bounded)
    }

    /// The documents that enter the stages with this name. `None` if there is no such stage; the number may be unknown.
    pub(super) fn input_of(&self, name: &str) -> Option<Option<u64>> {
        let at = self.stages.iter().position(|stage| stage.name == name)?;
        let below = self.stages.get(at + 1);
        let below = below.filter(|below| below.depth > self.stages[at].depth);
        Some(below.and_then(|below| below.returned))
    }

    /// The names of the indexes that the plan uses.
    pub(super) fn indexes(&self) -> impl Iterator<Item = &str> {
        self.stages
            .iter()
            .filter_map(|stage| stage.index.as_deref())
    }
}

/// The stages whose number of returned documents does not say how many documents match.
const CONSUMING: [&str; 7] = [
    "COUNT",
    "GROUP",
    "UPDATE",
    "DELETE",
    "BATCHED_DELETE",
    "PROJECTION_SIMPLE",
    "PROJECTION_DEFAULT",
];

/// The fields of a stage that hold the stages that it reads from.
const BELOW: [&str; 8] = [
    "inputStage",
    "inputStages",
    "outerStage",
    "innerStage",
    "leftStage",
    "rightStage",
    "thenStage",
    "elseStage",
];

fn read_stages(stage: &Document, depth: usize, stages: &mut Vec<Stage>) {
    let text = |key: &str| stage.get_str(key).ok().map(str::to_owned);
    let Some(name) = text("stage") else {
        return;
    };
    let join = text("strategy").map(|strategy| {
        let foreign =
            ["foreignCollection", "foreignField"].map(|key| text(key).unwrap_or_default());
        let [collection, field] = foreign;
        [collection, field, strategy]
    });
    stages.push(Stage {
        name,
        depth,
        node_id: number(stage, "planNodeId"),
        index: text("indexName"),
        is_bounded: stage.contains_key("minRecord") || stage.contains_key("maxRecord"),
        join,
        returned: number(stage, "nReturned"),
    });
    for below in BELOW.iter().filter_map(|key| stage.get(key)) {
        match below {
            Bson::Document(below) => read_stages(below, depth + 1, stages),
            Bson::Array(several) => {
                for below in several.iter().filter_map(Bson::as_document) {
                    read_stages(below, depth + 1, stages);
                }
            }
            _ => {}
        }
    }
}

/// Gives the stages of a plan the numbers of their execution.
fn assign_returned(plan: &mut [Stage], executed: &[Stage]) {
    let names = |stages: &[Stage]| -> Vec<String> {
        stages.iter().map(|stage| stage.name.clone()).collect()
    };
    let is_same_tree = names(plan) == names(executed);
    for (index, stage) in plan.iter_mut().enumerate() {
        let same = match is_same_tree {
            true => executed.get(index),
            // The topmost stage of the engine that belongs to the stage of the plan.
            false => stage
                .node_id
                .and_then(|id| executed.iter().find(|other| other.node_id == Some(id))),
        };
        stage.returned = same.and_then(|same| same.returned);
    }
}

/// Finds the stages that have used files. `name` is that of the stage that `document` belongs to.
fn find_spills(document: &Document, name: &str, found: &mut Vec<Spill>) {
    let name = document.get_str("stage").unwrap_or(name);
    let times = number(document, "spills").filter(|times| *times > 0);
    let used_disk = document.get("usedDisk") == Some(&Bson::Boolean(true));
    if used_disk || times.is_some() {
        let size = ["spilledDataStorageSize", "spilledBytes"];
        let mut size = size.into_iter().filter_map(|key| number(document, key));
        found.push(Spill {
            stage: name.to_owned(),
            times,
            bytes: size.next(),
        });
    }
    for value in document.values() {
        match value {
            Bson::Document(inner) => find_spills(inner, name, found),
            Bson::Array(items) => {
                for inner in items.iter().filter_map(Bson::as_document) {
                    find_spills(inner, name, found);
                }
            }
            _ => {}
        }
    }
}

/// A number of any type that is not negative.
fn number(document: &Document, key: &str) -> Option<u64> {
    match document.get(key)? {
        Bson::Int32(number) => u64::try_from(*number).ok(),
        Bson::Int64(number) => u64::try_from(*number).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the value is checked, and a cast of a larger one saturates"
        )]
        Bson::Double(number) if *number >= 0.0 => Some(*number as u64),
        _ => None,
    }
}

/// The host and the version of the server that replied.
fn server(reply: &Document) -> Option<String> {
    let info = reply.get_document("serverInfo").ok()?;
    let host = info.get_str("host").ok()?;
    let port = number(info, "port").map_or(String::new(), |port| format!(":{port}"));
    let version = info.get_str("version").ok();
    let version = version.map_or(String::new(), |version| format!(", MongoDB {version}"));
    Some(format!("{host}{port}{version}"))
}
