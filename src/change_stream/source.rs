//! The aggregation that opens a cursor of a change stream ("Change Streams", "Helper Method").

use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf, cstr};

use crate::client_session::Scope;
use crate::collection::action::{Action, CursorCommand, Replaced};
use crate::cursor::Cursor;
use crate::error::Result;
use crate::op::CursorTiming;
use crate::op::run_command::Opened;

/// The aggregation of a stream, which is sent again when another cursor replaces the last one.
pub(super) struct Source<S> {
    pub(super) action: Action<S>,
    pub(super) aggregation: Aggregation,
}

/// The parts of the aggregation that stay the same.
pub(super) struct Aggregation {
    /// The options of the stage `$changeStream`, except for those that say where it starts.
    pub(super) stage: RawDocumentBuf,
    /// The stages of the program, which follow it.
    pub(super) pipeline: Result<Vec<RawDocumentBuf>>,
    pub(super) batch_size: Option<u32>,
    pub(super) timing: CursorTiming,
}

impl<S: Scope> Source<S> {
    /// Sends the aggregation. `append_place` adds the options that say where the stream starts.
    pub(super) fn open(
        &self,
        append_place: impl FnOnce(&mut RawDocumentBuf),
        replaced: Replaced,
    ) -> Result<Opened> {
        let Aggregation {
            stage,
            pipeline,
            batch_size,
            timing,
        } = &self.aggregation;
        let mut options = stage.clone();
        append_place(&mut options);
        let mut first = RawDocumentBuf::new();
        first.append(cstr!("$changeStream"), options);
        let mut stages = RawArrayBuf::new();
        stages.push(first);
        let pipeline = pipeline.as_ref().map_err(Clone::clone)?;
        pipeline
            .iter()
            .for_each(|stage| stages.push(stage.as_ref()));
        let mut cursor = RawDocumentBuf::new();
        if let Some(size) = *batch_size {
            cursor.append(cstr!("batchSize"), i64::from(size));
        }
        let own = [
            (cstr!("pipeline"), RawBsonRef::Array(&stages)),
            (cstr!("cursor"), RawBsonRef::Document(&cursor)),
        ];
        let kind = CursorCommand::Read;
        self.action
            .replace_cursor(kind, "aggregate", &own, *timing, replaced)
    }

    /// The cursor that the aggregation has opened.
    pub(super) fn cursor(&self, opened: Opened) -> Result<Cursor<(), S>> {
        let action = self.action.clone();
        let Aggregation {
            timing, batch_size, ..
        } = &self.aggregation;
        action.into_cursor(opened, *timing, *batch_size)
    }
}
