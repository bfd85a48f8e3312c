// The operations, compiled twice: by `ours.rs` for mongotls, and by `official.rs` for the `mongodb` crate. What differs comes
// from these files: the types, conversions to them, and the macro `ours!` around what the `mongodb` crate lacks.

/// Sets the options that are among the arguments: `setter = conversion("name")`.
macro_rules! set {
    ($action:ident, $arguments:ident: $($setter:ident = $convert:ident($name:literal)),* $(,)?) => {$(
        if let Some(value) = $convert($arguments, $name) {
            $action = $action.$setter(value);
        }
    )*};
}

/// Runs an operation.
fn perform(client: &Client, operation: &Document) -> Result<Bson, Error> {
    let database = client.database(DATABASE);
    let arguments = arguments::of(operation);
    let things = database.collection::<Document>(&name(arguments, "collection"));
    let operation = operation.get_str("name").expect("the name");
    match operation {
        "find" | "findOne" => find(operation, &things, arguments),
        "aggregate" | "aggregateDatabase" => aggregate(operation, &database, &things, arguments),
        "countDocuments" | "estimatedDocumentCount" | "distinct" => {
            count(operation, &things, arguments)
        }
        "insertOne" | "insertMany" => insert(operation, &things, arguments),
        "updateOne" | "updateMany" | "replaceOne" => update(operation, &things, arguments),
        "deleteOne" | "deleteMany" => delete(operation, &things, arguments),
        "findOneAndUpdate" | "findOneAndReplace" | "findOneAndDelete" => {
            find_and_modify(operation, &things, arguments)
        }
        "bulkWrite" => bulk_write(&things, arguments),
        "clientBulkWrite" => client_bulk_write(client, arguments),
        "createIndex" | "createIndexes" | "dropIndex" | "dropIndexes" | "listIndexes"
        | "listIndexNames" => indexes(operation, &things, arguments),
        "createCollection" => create_collection(&database, arguments),
        "listCollections" | "listCollectionNames" => {
            list_collections(operation, &database, arguments)
        }
        "listDatabases" | "listDatabaseNames" => list_databases(operation, client, arguments),
        "rename" => rename(&things, arguments),
        "dropCollection" | "dropDatabase" => drop_all(operation, &database, &things, arguments),
        "createSearchIndex" | "createSearchIndexes" | "updateSearchIndex" | "dropSearchIndex"
        | "listSearchIndexes" => search_indexes(operation, &things, arguments),
        "ping" => ping(&database),
        other => panic!("the operation {other} is unknown"),
    }
}

/// The result of an operation: `{ result }`, or `{ error, … }`.
fn outcome(result: Result<Bson, Error>) -> Document {
    match result {
        Ok(result) => doc! { "result": result },
        Err(error) => failure(&error),
    }
}

fn find(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    let filter = document(arguments, "filter");
    if operation == "findOne" {
        let mut find = things.find_one(filter);
        set!(find, arguments:
            collation = collation("collation"),
            comment = any("comment"),
            hint = hint("hint"),
            let_vars = doc("let"),
            max = doc("max"),
            max_time = millis("maxTimeMS"),
            min = doc("min"),
            projection = doc("projection"),
            read_concern = read_concern("readConcern"),
            return_key = flag("returnKey"),
            selection_criteria = preference("readPreference"),
            show_record_id = flag("showRecordId"),
            skip = long("skip"),
            sort = doc("sort"),
        );
        ours! {
            set!(find, arguments: allow_disk_use = flag("allowDiskUse"));
        }
        return Ok(Bson::from(find.run()?));
    }
    let mut find = things.find(filter);
    set!(find, arguments:
        allow_disk_use = flag("allowDiskUse"),
        allow_partial_results = flag("allowPartialResults"),
        batch_size = short("batchSize"),
        collation = collation("collation"),
        comment = any("comment"),
        cursor_type = cursor_type("cursorType"),
        hint = hint("hint"),
        let_vars = doc("let"),
        limit = signed("limit"),
        max = doc("max"),
        max_await_time = millis("maxAwaitTimeMS"),
        max_time = millis("maxTimeMS"),
        min = doc("min"),
        no_cursor_timeout = flag("noCursorTimeout"),
        projection = doc("projection"),
        read_concern = read_concern("readConcern"),
        return_key = flag("returnKey"),
        selection_criteria = preference("readPreference"),
        show_record_id = flag("showRecordId"),
        skip = long("skip"),
        sort = doc("sort"),
    );
    // A tailable cursor has no end.
    let count = short(arguments, "read").map_or(usize::MAX, |count| count as usize);
    let documents = find.run()?.take(count);
    Ok(array(documents.collect::<Result<Vec<_>, _>>()?))
}

fn aggregate(
    operation: &str,
    database: &Database,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    let pipeline = documents(arguments, "pipeline");
    let mut aggregate = match operation {
        "aggregate" => things.aggregate(pipeline),
        _ => database.aggregate(pipeline),
    };
    set!(aggregate, arguments:
        allow_disk_use = flag("allowDiskUse"),
        batch_size = short("batchSize"),
        bypass_document_validation = flag("bypassDocumentValidation"),
        collation = collation("collation"),
        comment = any("comment"),
        hint = hint("hint"),
        let_vars = doc("let"),
        max_await_time = millis("maxAwaitTimeMS"),
        max_time = millis("maxTimeMS"),
        read_concern = read_concern("readConcern"),
        selection_criteria = preference("readPreference"),
        write_concern = write_concern("writeConcern"),
    );
    Ok(array(aggregate.run()?.collect::<Result<Vec<_>, _>>()?))
}

fn count(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    match operation {
        "countDocuments" => {
            let mut count = things.count_documents(document(arguments, "filter"));
            set!(count, arguments:
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                limit = long("limit"),
                max_time = millis("maxTimeMS"),
                read_concern = read_concern("readConcern"),
                selection_criteria = preference("readPreference"),
                skip = long("skip"),
            );
            Ok(number(count.run()?))
        }
        "estimatedDocumentCount" => {
            let mut count = things.estimated_document_count();
            set!(count, arguments:
                comment = any("comment"),
                max_time = millis("maxTimeMS"),
                read_concern = read_concern("readConcern"),
                selection_criteria = preference("readPreference"),
            );
            Ok(number(count.run()?))
        }
        _ => {
            let field = name(arguments, "fieldName");
            let mut distinct = things.distinct(field, document(arguments, "filter"));
            set!(distinct, arguments:
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                max_time = millis("maxTimeMS"),
                read_concern = read_concern("readConcern"),
                selection_criteria = preference("readPreference"),
            );
            Ok(Bson::Array(distinct.run()?))
        }
    }
}

fn insert(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    let result = if operation == "insertOne" {
        let mut insert = things.insert_one(document(arguments, "document"));
        set!(insert, arguments:
            bypass_document_validation = flag("bypassDocumentValidation"),
            comment = any("comment"),
            write_concern = write_concern("writeConcern"),
        );
        doc! { "insertedId": insert.run()?.inserted_id }
    } else {
        let mut insert = things.insert_many(documents(arguments, "documents"));
        set!(insert, arguments:
            bypass_document_validation = flag("bypassDocumentValidation"),
            comment = any("comment"),
            ordered = flag("ordered"),
            write_concern = write_concern("writeConcern"),
        );
        doc! { "insertedIds": by_index(insert.run()?.inserted_ids, |id| id) }
    };
    Ok(acknowledged(arguments, result))
}

fn update(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    let filter = document(arguments, "filter");
    let result = match operation {
        "updateOne" => {
            let mut update = things.update_one(filter, modification(arguments, "update"));
            set!(update, arguments:
                array_filters = docs("arrayFilters"),
                bypass_document_validation = flag("bypassDocumentValidation"),
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                let_vars = doc("let"),
                sort = doc("sort"),
                upsert = flag("upsert"),
                write_concern = write_concern("writeConcern"),
            );
            update.run()?
        }
        "updateMany" => {
            let mut update = things.update_many(filter, modification(arguments, "update"));
            set!(update, arguments:
                array_filters = docs("arrayFilters"),
                bypass_document_validation = flag("bypassDocumentValidation"),
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                let_vars = doc("let"),
                upsert = flag("upsert"),
                write_concern = write_concern("writeConcern"),
            );
            update.run()?
        }
        _ => {
            let mut update = things.replace_one(filter, document(arguments, "replacement"));
            set!(update, arguments:
                bypass_document_validation = flag("bypassDocumentValidation"),
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                let_vars = doc("let"),
                sort = doc("sort"),
                upsert = flag("upsert"),
                write_concern = write_concern("writeConcern"),
            );
            update.run()?
        }
    };
    Ok(acknowledged(arguments, updated(result)))
}

fn updated(result: UpdateResult) -> Document {
    doc! {
        "matchedCount": number(result.matched_count),
        "modifiedCount": number(result.modified_count),
        "upsertedId": result.upserted_id,
    }
}

fn delete(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    let filter = document(arguments, "filter");
    let mut delete = match operation {
        "deleteOne" => things.delete_one(filter),
        _ => things.delete_many(filter),
    };
    set!(delete, arguments:
        collation = collation("collation"),
        comment = any("comment"),
        hint = hint("hint"),
        let_vars = doc("let"),
        write_concern = write_concern("writeConcern"),
    );
    let result = doc! { "deletedCount": number(delete.run()?.deleted_count) };
    Ok(acknowledged(arguments, result))
}

fn find_and_modify(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    let filter = document(arguments, "filter");
    let found = match operation {
        "findOneAndUpdate" => {
            let mut find = things.find_one_and_update(filter, modification(arguments, "update"));
            set!(find, arguments:
                array_filters = docs("arrayFilters"),
                bypass_document_validation = flag("bypassDocumentValidation"),
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                let_vars = doc("let"),
                max_time = millis("maxTimeMS"),
                projection = doc("projection"),
                return_document = return_document("returnDocument"),
                sort = doc("sort"),
                upsert = flag("upsert"),
                write_concern = write_concern("writeConcern"),
            );
            find.run()?
        }
        "findOneAndReplace" => {
            let mut find = things.find_one_and_replace(filter, document(arguments, "replacement"));
            set!(find, arguments:
                bypass_document_validation = flag("bypassDocumentValidation"),
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                let_vars = doc("let"),
                max_time = millis("maxTimeMS"),
                projection = doc("projection"),
                return_document = return_document("returnDocument"),
                sort = doc("sort"),
                upsert = flag("upsert"),
                write_concern = write_concern("writeConcern"),
            );
            find.run()?
        }
        _ => {
            let mut find = things.find_one_and_delete(filter);
            set!(find, arguments:
                collation = collation("collation"),
                comment = any("comment"),
                hint = hint("hint"),
                let_vars = doc("let"),
                max_time = millis("maxTimeMS"),
                projection = doc("projection"),
                sort = doc("sort"),
                write_concern = write_concern("writeConcern"),
            );
            find.run()?
        }
    };
    Ok(Bson::from(found))
}

fn indexes(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    Ok(match operation {
        "createIndex" => {
            let model = documents(arguments, "indexes").remove(0);
            let mut create = things.create_index(index_model(&model));
            set!(create, arguments:
                comment = any("comment"),
                commit_quorum = commit_quorum("commitQuorum"),
                max_time = millis("maxTimeMS"),
                write_concern = write_concern("writeConcern"),
            );
            Bson::from(vec![create.run()?.index_name])
        }
        "createIndexes" => {
            let models = documents(arguments, "indexes");
            let mut create = things.create_indexes(models.iter().map(index_model));
            set!(create, arguments:
                comment = any("comment"),
                commit_quorum = commit_quorum("commitQuorum"),
                max_time = millis("maxTimeMS"),
                write_concern = write_concern("writeConcern"),
            );
            Bson::from(create.run()?.index_names)
        }
        "dropIndex" | "dropIndexes" => {
            let mut drop = match operation {
                "dropIndex" => things.drop_index(name(arguments, "name")),
                _ => things.drop_indexes(),
            };
            set!(drop, arguments:
                comment = any("comment"),
                max_time = millis("maxTimeMS"),
                write_concern = write_concern("writeConcern"),
            );
            drop.run()?;
            Bson::Null
        }
        "listIndexes" => {
            let mut list = things.list_indexes();
            set!(list, arguments:
                batch_size = short("batchSize"),
                comment = any("comment"),
                max_time = millis("maxTimeMS"),
            );
            listed_indexes(list.run()?.collect::<Result<Vec<_>, _>>()?)
        }
        _ => Bson::from(things.list_index_names().run()?),
    })
}

fn create_collection(database: &Database, arguments: &Document) -> Result<Bson, Error> {
    let mut create = database.create_collection(name(arguments, "collection"));
    set!(create, arguments:
        capped = flag("capped"),
        change_stream_pre_and_post_images = images("changeStreamPreAndPostImages"),
        clustered_index = clustered_index("clusteredIndex"),
        collation = collation("collation"),
        comment = any("comment"),
        expire_after_seconds = seconds("expireAfterSeconds"),
        index_option_defaults = index_option_defaults("indexOptionDefaults"),
        max = long("max"),
        pipeline = docs("pipeline"),
        size = long("size"),
        storage_engine = doc("storageEngine"),
        timeseries = timeseries("timeseries"),
        validation_action = validation_action("validationAction"),
        validation_level = validation_level("validationLevel"),
        validator = doc("validator"),
        view_on = text("viewOn"),
        write_concern = write_concern("writeConcern"),
    );
    create.run()?;
    Ok(Bson::Null)
}

fn list_collections(
    operation: &str,
    database: &Database,
    arguments: &Document,
) -> Result<Bson, Error> {
    if operation == "listCollectionNames" {
        let mut list = database.list_collection_names();
        set!(list, arguments:
            authorized_collections = flag("authorizedCollections"),
            comment = any("comment"),
            filter = doc("filter"),
        );
        ours! {
            set!(list, arguments: max_time = millis("maxTimeMS"));
        }
        return Ok(Bson::from(list.run()?));
    }
    let mut list = database.list_collections();
    set!(list, arguments:
        authorized_collections = flag("authorizedCollections"),
        batch_size = short("batchSize"),
        comment = any("comment"),
        filter = doc("filter"),
    );
    ours! {
        set!(list, arguments: max_time = millis("maxTimeMS"), name_only = flag("nameOnly"));
    }
    let collections = list.run()?.collect::<Result<Vec<_>, _>>()?;
    Ok(Bson::Array(collections.into_iter().map(listed_collection).collect()))
}

fn list_databases(operation: &str, client: &Client, arguments: &Document) -> Result<Bson, Error> {
    if operation == "listDatabaseNames" {
        let mut list = client.list_database_names();
        set!(list, arguments:
            authorized_databases = flag("authorizedDatabases"),
            comment = any("comment"),
            filter = doc("filter"),
        );
        return Ok(Bson::from(list.run()?));
    }
    let mut list = client.list_databases();
    set!(list, arguments:
        authorized_databases = flag("authorizedDatabases"),
        comment = any("comment"),
        filter = doc("filter"),
    );
    let databases = list.run()?.into_iter();
    // Their sizes depend on when the server writes.
    let databases = databases.map(|one| Bson::from(doc! { "name": one.name, "empty": one.empty }));
    Ok(Bson::Array(databases.collect()))
}

fn drop_all(
    operation: &str,
    database: &Database,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    if operation == "dropCollection" {
        let mut drop = things.drop();
        set!(drop, arguments: write_concern = write_concern("writeConcern"));
        ours! {
            set!(drop, arguments: comment = any("comment"));
        }
        drop.run()?;
    } else {
        let mut drop = database.drop();
        set!(drop, arguments: write_concern = write_concern("writeConcern"));
        ours! {
            set!(drop, arguments: comment = any("comment"));
        }
        drop.run()?;
    }
    Ok(Bson::Null)
}

fn search_indexes(
    operation: &str,
    things: &Collection<Document>,
    arguments: &Document,
) -> Result<Bson, Error> {
    match operation {
        "createSearchIndex" => {
            let created = things.create_search_index(search_index_model(arguments)).run()?;
            Ok(Bson::from(vec![created]))
        }
        "createSearchIndexes" => {
            let models = documents(arguments, "models");
            let create = things.create_search_indexes(models.iter().map(search_index_model));
            Ok(Bson::from(create.run()?))
        }
        "updateSearchIndex" => {
            let definition = document(arguments, "definition");
            things
                .update_search_index(name(arguments, "name"), definition)
                .run()?;
            Ok(Bson::Null)
        }
        "dropSearchIndex" => {
            things.drop_search_index(name(arguments, "name")).run()?;
            Ok(Bson::Null)
        }
        _ => {
            let list = list_search_indexes(things, arguments);
            Ok(array(list.run()?.collect::<Result<Vec<_>, _>>()?))
        }
    }
}

/// The result of a write, or only that it is not acknowledged.
fn acknowledged(arguments: &Document, result: Document) -> Bson {
    let concern = arguments.get_document("writeConcern");
    match concern.is_ok_and(|concern| concern.get("w") == Some(&Bson::Int32(0))) {
        true => doc! { "acknowledged": false }.into(),
        false => result.into(),
    }
}

fn array(documents: Vec<Document>) -> Bson {
    Bson::Array(documents.into_iter().map(Bson::Document).collect())
}

fn by_index<T>(
    results: impl IntoIterator<Item = (usize, T)>,
    convert: impl Fn(T) -> Bson,
) -> Document {
    let sorted: BTreeMap<usize, T> = results.into_iter().collect();
    let fields = sorted.into_iter();
    fields.map(|(index, one)| (index.to_string(), convert(one))).collect()
}

fn number(count: u64) -> Bson {
    Bson::Int64(i64::try_from(count).unwrap_or(i64::MAX))
}
