"""Runs operations with PyMongo: BSON documents `{ name, arguments }` come in, and their results go out.

The connection string is the only argument. The program ends with its input.
"""

import struct
import sys

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import CursorType, MongoClient, ReturnDocument
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    OperationFailure,
    PyMongoError,
)
from pymongo.operations import (
    DeleteMany,
    DeleteOne,
    IndexModel,
    InsertOne,
    ReplaceOne,
    SearchIndexModel,
    UpdateMany,
    UpdateOne,
)
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import (
    Nearest,
    Primary,
    PrimaryPreferred,
    Secondary,
    SecondaryPreferred,
)
from pymongo.write_concern import WriteConcern

DATABASE = "differential"
# Dates that Python cannot represent stay numbers.
CODEC = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)

PREFERENCES = {
    "primaryPreferred": PrimaryPreferred,
    "secondary": Secondary,
    "secondaryPreferred": SecondaryPreferred,
    "nearest": Nearest,
}
CURSOR_TYPES = {
    "nonTailable": CursorType.NON_TAILABLE,
    "tailable": CursorType.TAILABLE,
    "tailableAwait": CursorType.TAILABLE_AWAIT,
}


def pairs(document):
    return list(document.items())


class Arguments:
    """The arguments of an operation; each is read once, so that none is overlooked."""

    def __init__(self, arguments):
        self.rest = dict(arguments)

    def take(self, name, default=None):
        return self.rest.pop(name, default)

    def rename(self, names):
        """The arguments that are present, with PyMongo's names."""
        return {new: self.rest.pop(old) for old, new in names.items() if old in self.rest}

    def settings(self):
        """The arguments that are settings of the collection in PyMongo."""
        settings = {}
        concern = self.take("writeConcern")
        if concern is not None:
            names = {"w": "w", "wtimeoutMS": "wtimeout", "journal": "j"}
            settings["write_concern"] = WriteConcern(
                **{names[name]: value for name, value in concern.items()}
            )
        concern = self.take("readConcern")
        if concern is not None:
            settings["read_concern"] = ReadConcern(concern["level"])
        preference = self.take("readPreference")
        if preference is not None:
            if preference["mode"] == "primary":
                settings["read_preference"] = Primary()
            else:
                limit = preference.get("maxStalenessSeconds", -1)
                settings["read_preference"] = PREFERENCES[preference["mode"]](max_staleness=limit)
        return settings

    def end(self):
        assert not self.rest, f"nothing reads {self.rest}"


FIND = {
    "allowDiskUse": "allow_disk_use",
    "allowPartialResults": "allow_partial_results",
    "batchSize": "batch_size",
    "collation": "collation",
    "comment": "comment",
    "let": "let",
    "limit": "limit",
    "max": "max",
    "maxTimeMS": "max_time_ms",
    "min": "min",
    "noCursorTimeout": "no_cursor_timeout",
    "projection": "projection",
    "returnKey": "return_key",
    "showRecordId": "show_record_id",
    "skip": "skip",
    "sort": "sort",
}
AGGREGATE = {
    name: name
    for name in (
        "allowDiskUse",
        "batchSize",
        "bypassDocumentValidation",
        "collation",
        "comment",
        "hint",
        "let",
        "maxTimeMS",
    )
}
COUNT = {name: name for name in ("collation", "comment", "hint", "limit", "maxTimeMS", "skip")}
WRITE = {
    "arrayFilters": "array_filters",
    "bypassDocumentValidation": "bypass_document_validation",
    "collation": "collation",
    "comment": "comment",
    "hint": "hint",
    "let": "let",
    "ordered": "ordered",
    "sort": "sort",
    "upsert": "upsert",
}
FIND_AND_MODIFY = {
    "arrayFilters": "array_filters",
    "bypassDocumentValidation": "bypassDocumentValidation",
    "collation": "collation",
    "comment": "comment",
    "hint": "hint",
    "let": "let",
    "maxTimeMS": "maxTimeMS",
    "projection": "projection",
    "sort": "sort",
    "upsert": "upsert",
}


def find(things, name, a):
    more = a.rename(FIND)
    hint = a.take("hint")
    if hint is not None:
        more["hint"] = hint if isinstance(hint, str) else pairs(hint)
    filter = a.take("filter")
    if name == "findOne":
        a.end()
        return things.find_one(filter, **more)
    kind = a.take("cursorType")
    if kind is not None:
        more["cursor_type"] = CURSOR_TYPES[kind]
    limit = a.take("maxAwaitTimeMS")
    count = a.take("read")
    a.end()
    cursor = things.find(filter, **more)
    if limit is not None:
        cursor.max_await_time_ms(limit)
    if count is None:
        return list(cursor)
    found = []
    while len(found) < count:
        found.append(cursor.next())
    cursor.close()
    return found


def index_model(index):
    index = dict(index)
    return IndexModel(pairs(index.pop("key")), **index)


def search_index_model(index):
    return SearchIndexModel(**index)


def unacknowledged(result, read):
    return read(result) if result.acknowledged else {"acknowledged": False}


def updated(result):
    return {
        "matchedCount": bson.Int64(result.matched_count),
        "modifiedCount": bson.Int64(result.modified_count),
        "upsertedId": result.upserted_id,
    }


def counts(result):
    names = {
        "insertedCount": "inserted_count",
        "matchedCount": "matched_count",
        "modifiedCount": "modified_count",
        "upsertedCount": "upserted_count",
        "deletedCount": "deleted_count",
    }
    return {ours: bson.Int64(getattr(result, name)) for ours, name in names.items()}


def by_index(results, convert):
    return {str(index): convert(results[index]) for index in sorted(results)}


def model(fields, in_client):
    a = Arguments(fields)
    kind = a.take("model")
    collection = a.take("collection")
    more = {"namespace": f"{DATABASE}.{collection}"} if in_client else {}
    if kind == "insertOne":
        return InsertOne(a.take("document"), **more)
    more.update(a.rename(WRITE))
    filter = a.take("filter")
    if kind in ("updateOne", "updateMany"):
        type = UpdateOne if kind == "updateOne" else UpdateMany
        return type(filter, a.take("update"), **more)
    if kind == "replaceOne":
        return ReplaceOne(filter, a.take("replacement"), **more)
    return (DeleteOne if kind == "deleteOne" else DeleteMany)(filter, **more)


def perform(client, name, arguments):
    a = Arguments(arguments)
    database = client.get_database(DATABASE, codec_options=CODEC)
    settings = a.settings()
    collection = a.take("collection")
    things = database.get_collection(collection, **settings)
    if name in ("find", "findOne"):
        return find(things, name, a)
    if name in ("aggregate", "aggregateDatabase"):
        target = things if name == "aggregate" else database.with_options(**settings)
        more = a.rename(AGGREGATE)
        pipeline = a.take("pipeline")
        a.end()
        return list(target.aggregate(pipeline, **more))
    if name == "countDocuments":
        return bson.Int64(things.count_documents(a.take("filter"), **a.rename(COUNT)))
    if name == "estimatedDocumentCount":
        return bson.Int64(things.estimated_document_count(**a.rename(COUNT)))
    if name == "distinct":
        return things.distinct(a.take("fieldName"), a.take("filter"), **a.rename(COUNT))
    if name == "insertOne":
        result = things.insert_one(a.take("document"), **a.rename(WRITE))
        return unacknowledged(result, lambda it: {"insertedId": it.inserted_id})
    if name == "insertMany":
        result = things.insert_many(a.take("documents"), **a.rename(WRITE))

        def ids(it):
            return {"insertedIds": by_index(dict(enumerate(it.inserted_ids)), lambda id: id)}

        return unacknowledged(result, ids)
    if name in ("updateOne", "updateMany", "replaceOne"):
        method = {
            "updateOne": things.update_one,
            "updateMany": things.update_many,
            "replaceOne": things.replace_one,
        }[name]
        change = a.take("replacement" if name == "replaceOne" else "update")
        return unacknowledged(method(a.take("filter"), change, **a.rename(WRITE)), updated)
    if name in ("deleteOne", "deleteMany"):
        method = things.delete_one if name == "deleteOne" else things.delete_many
        result = method(a.take("filter"), **a.rename(WRITE))
        return unacknowledged(result, lambda it: {"deletedCount": bson.Int64(it.deleted_count)})
    if name in ("findOneAndUpdate", "findOneAndReplace", "findOneAndDelete"):
        more = a.rename(FIND_AND_MODIFY)
        wanted = a.take("returnDocument")
        if wanted is not None:
            after = wanted == "after"
            more["return_document"] = ReturnDocument.AFTER if after else ReturnDocument.BEFORE
        filter = a.take("filter")
        if name == "findOneAndDelete":
            return things.find_one_and_delete(filter, **more)
        if name == "findOneAndUpdate":
            return things.find_one_and_update(filter, a.take("update"), **more)
        return things.find_one_and_replace(filter, a.take("replacement"), **more)
    if name == "bulkWrite":
        models = [model(one, False) for one in a.take("models")]
        result = things.bulk_write(models, **a.rename(WRITE))

        def summary(it):
            return {**counts(it), "upsertedIds": by_index(it.upserted_ids or {}, lambda id: id)}

        return unacknowledged(result, summary)
    if name == "clientBulkWrite":
        models = [model(one, True) for one in a.take("models")]
        is_verbose = a.take("verboseResults", False)
        more = a.rename(WRITE)
        if "write_concern" in settings:
            more["write_concern"] = settings["write_concern"]
        result = client.bulk_write(models, verbose_results=is_verbose, **more)

        def results(it):
            verbose = None
            if is_verbose:
                verbose = {
                    "insertResults": by_index(it.insert_results, lambda one: one.inserted_id),
                    "updateResults": by_index(it.update_results, updated),
                    "deleteResults": by_index(
                        it.delete_results, lambda one: bson.Int64(one.deleted_count)
                    ),
                }
            return {**counts(it), "verbose": verbose}

        return unacknowledged(result, results)
    if name == "createIndex":
        index = dict(a.take("indexes")[0])
        keys = pairs(index.pop("key"))
        more = a.rename({"comment": "comment", "maxTimeMS": "maxTimeMS"})
        a.end()
        return [things.create_index(keys, **index, **more)]
    if name == "createIndexes":
        models = [index_model(index) for index in a.take("indexes")]
        return things.create_indexes(models, **a.rest)
    if name == "dropIndex":
        things.drop_index(a.take("name"), **a.rest)
        return None
    if name == "dropIndexes":
        things.drop_indexes(**a.rest)
        return None
    if name == "listIndexes":
        listed = list(things.list_indexes(**a.rest))
        return [{"key": index["key"], "name": index["name"]} for index in listed]
    if name == "createCollection":
        more = {"write_concern": settings["write_concern"]} if settings else {}
        database.create_collection(collection, check_exists=False, **more, **a.rest)
        return None
    if name == "listCollections":
        listed = list(database.list_collections(**a.rest))
        return [{"name": one["name"], "type": one.get("type")} for one in listed]
    if name == "listCollectionNames":
        return database.list_collection_names(**a.rest)
    if name == "listDatabases":
        listed = list(client.list_databases(**a.rest))
        return [{"name": one["name"], "empty": one["empty"]} for one in listed]
    if name == "listDatabaseNames":
        return client.list_database_names(**a.rest)
    if name == "rename":
        things.rename(a.take("to"), **a.rest)
        return None
    if name == "dropCollection":
        database.with_options(**settings).drop_collection(collection, **a.rest)
        return None
    if name == "dropDatabase":
        client.drop_database(DATABASE, **a.rest)
        return None
    if name == "createSearchIndex":
        return [things.create_search_index(search_index_model(a.rest))]
    if name == "createSearchIndexes":
        return things.create_search_indexes([search_index_model(one) for one in a.take("models")])
    if name == "updateSearchIndex":
        things.update_search_index(a.take("name"), a.take("definition"))
        return None
    if name == "dropSearchIndex":
        things.drop_search_index(a.take("name"))
        return None
    if name == "listSearchIndexes":
        return list(things.list_search_indexes(**a.rest))
    if name == "ping":
        database.command("ping")
        return None
    raise AssertionError(f"the operation {name} is unknown")


def refused(code, writes=(), concern=None):
    writes = [{"index": bson.Int64(index), "code": code} for index, code in writes]
    return {"error": "server", "code": code or 0, "writes": writes, "concern": concern}


def failure(error):
    if isinstance(error, BulkWriteError):
        details = error.details
        writes = [(write["index"], write["code"]) for write in details["writeErrors"]]
        concerns = details["writeConcernErrors"]
        return refused(0, writes, concerns[0]["code"] if concerns else None)
    if isinstance(error, ClientBulkWriteException):
        if error.error is not None:
            if isinstance(error.error, OperationFailure):
                return refused(error.error.code)
            return {"error": "client", "why": str(error.error)}
        writes = [(write["idx"], write["code"]) for write in error.write_errors or []]
        concerns = error.write_concern_errors
        return refused(0, sorted(writes), concerns[0]["code"] if concerns else None)
    if isinstance(error, OperationFailure):
        details = error.details or {}
        # The error of one write has an index; the reply of a failed command has `ok`.
        if "index" in details and "ok" not in details:
            return refused(0, [(details["index"], error.code)])
        return refused(error.code)
    return {"error": "client", "why": f"{type(error).__name__}: {error}"}


def main():
    client = MongoClient(sys.argv[1])
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        length = source.read(4)
        if not length:
            return
        rest = source.read(struct.unpack("<i", length)[0] - 4)
        operation = bson.decode(length + rest, codec_options=CODEC)
        try:
            result = {"result": perform(client, operation["name"], operation["arguments"])}
        except (PyMongoError, TypeError, ValueError, bson.errors.BSONError) as error:
            result = failure(error)
        sink.write(bson.encode(result))
        sink.flush()


main()
