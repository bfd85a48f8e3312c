//! The indexes of a bucket, which the first write creates if there are no files yet ("GridFS", "Indexes").

use bson::raw::RawDocument;
use bson::{cstr, doc};

use super::GridFsBucket;
use crate::client_session::Scope;
use crate::collection::Collection;
use crate::data::hello::integer;
use crate::error::Result;
use crate::index_model::IndexModel;
use crate::options::ReadPreference;
use crate::server_code::NAMESPACE_NOT_FOUND;

impl<S: Scope> GridFsBucket<S> {
    /// Makes sure that the indexes exist, before the first write of this bucket.
    ///
    /// # Errors
    /// If the files cannot be read, or an index cannot be created.
    pub(super) fn ensure_indexes(&self) -> Result<()> {
        if self.shared.has_indexes() {
            return Ok(());
        }
        let mut only_id = bson::RawDocumentBuf::new();
        only_id.append(cstr!("_id"), 1);
        let first = self
            .files
            .find_one(bson::RawDocumentBuf::new())
            .projection(&only_id)
            .read_preference(ReadPreference::default())
            .run_raw()?;
        if first.is_none() {
            ensure(&self.files, &[("filename", 1), ("uploadDate", 1)], false)?;
            ensure(&self.chunks, &[("files_id", 1), ("n", 1)], true)?;
        }
        self.shared.set_has_indexes(true);
        Ok(())
    }
}

/// Creates an index unless the collection has one with the same keys.
fn ensure<T, S: Scope>(
    collection: &Collection<T, S>,
    keys: &[(&str, i64)],
    is_unique: bool,
) -> Result<()> {
    if has_index(collection, keys)? {
        return Ok(());
    }
    let mut model = doc! {};
    for (key, direction) in keys {
        model.insert(*key, i32::try_from(*direction).unwrap_or(1));
    }
    let mut index = IndexModel::new(model);
    if is_unique {
        index = index.unique(true);
    }
    collection.create_index(index).run().map(drop)
}

fn has_index<T, S: Scope>(collection: &Collection<T, S>, keys: &[(&str, i64)]) -> Result<bool> {
    let listed = collection.list_indexes().run();
    let mut indexes = match listed {
        Err(error)
            if error
                .command()
                .is_some_and(|it| it.code == NAMESPACE_NOT_FOUND) =>
        {
            return Ok(false);
        }
        listed => listed?,
    };
    while indexes.advance()? {
        if let Ok(found) = indexes.current().get_document("key") {
            if is_equivalent(found, keys) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Compares the keys of an index, with their order. A direction may have any numeric type: the shell sends doubles.
fn is_equivalent(found: &RawDocument, keys: &[(&str, i64)]) -> bool {
    let mut expected = keys.iter();
    for element in found.iter() {
        let Ok((key, value)) = element else {
            return false;
        };
        match expected.next() {
            Some((name, direction)) if key == *name && integer(value) == Some(*direction) => {}
            _ => return false,
        }
    }
    expected.next().is_none()
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, RawDocumentBuf};

    use super::*;

    #[test]
    fn numbers_of_keys_are_compared_by_value() {
        let keys = [("files_id", 1), ("n", 1)];
        let is = |found: Document| is_equivalent(&RawDocumentBuf::try_from(&found).unwrap(), &keys);
        for one in [Bson::Int32(1), Bson::Int64(1), Bson::Double(1.0)] {
            assert!(is(doc! { "files_id": one.clone(), "n": 1.0 }));
            assert!(is(doc! { "files_id": 1, "n": one }));
        }
        for other in [
            doc! { "files_id": 1 },
            doc! { "n": 1, "files_id": 1 },
            doc! { "files_id": 1, "n": -1 },
            doc! { "files_id": 1, "n": 1, "x": 1 },
            doc! { "files_id": "hashed", "n": 1 },
        ] {
            assert!(!is(other.clone()), "{other}");
        }
    }
}
