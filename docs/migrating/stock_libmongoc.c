/* The stock of a warehouse: stock URI DATABASE. */

#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    mongoc_client_t *client;
    mongoc_database_t *database;
    mongoc_collection_t *articles;
} stock_t;

typedef struct {
    const char *sku;
    int count;
} arrival_t;

static void check(bool ok, const bson_error_t *error) {
    if (!ok) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

static int64_t number(const bson_t *document, const char *key) {
    bson_iter_t field;
    return bson_iter_init_find(&field, document, key) ? bson_iter_as_int64(&field) : 0;
}

static double real(const bson_t *document, const char *key) {
    bson_iter_t field;
    return bson_iter_init_find(&field, document, key) ? bson_iter_as_double(&field) : 0.0;
}

static const char *text(const bson_t *document, const char *key) {
    bson_iter_t field;
    bool found = bson_iter_init_find(&field, document, key) && BSON_ITER_HOLDS_UTF8(&field);
    return found ? bson_iter_utf8(&field, NULL) : "";
}

static bson_t *article(const char *sku, const char *name, const char *kind, int count, double price) {
    return BCON_NEW("_id", BCON_UTF8(sku), "name", BCON_UTF8(name), "kind", BCON_UTF8(kind),
                    "count", BCON_INT32(count), "price", BCON_DOUBLE(price));
}

static void stock_open(stock_t *stock, const char *uri, const char *name) {
    bson_error_t error = {0};
    stock->client = mongoc_client_new(uri);
    if (!stock->client) {
        fprintf(stderr, "not a connection string: %s\n", uri);
        exit(1);
    }
    stock->database = mongoc_client_get_database(stock->client, name);
    bson_t *ping = BCON_NEW("ping", BCON_INT32(1));
    check(mongoc_database_command_simple(stock->database, ping, NULL, NULL, &error), &error);
    bson_destroy(ping);

    stock->articles = mongoc_database_get_collection(stock->database, "articles");
    mongoc_write_concern_t *majority = mongoc_write_concern_new();
    mongoc_write_concern_set_w(majority, MONGOC_WRITE_CONCERN_W_MAJORITY);
    mongoc_collection_set_write_concern(stock->articles, majority);
    mongoc_write_concern_destroy(majority);

    bson_t *indexes = BCON_NEW(
        "createIndexes", BCON_UTF8("articles"), "indexes", "[",
        "{", "key", "{", "kind", BCON_INT32(1), "price", BCON_INT32(1), "}", "name", BCON_UTF8("kind_1_price_1"), "}",
        "{", "key", "{", "name", BCON_INT32(1), "}", "name", BCON_UTF8("name_1"), "unique", BCON_BOOL(true), "}", "]");
    check(mongoc_database_write_command_with_opts(stock->database, indexes, NULL, NULL, &error), &error);
    bson_destroy(indexes);
}

/* Adds an article. Returns false if there is one with this number or this name. */
static bool stock_add(stock_t *stock, const bson_t *added) {
    bson_error_t error;
    bool ok = mongoc_collection_insert_one(stock->articles, added, NULL, NULL, &error);
    check(ok || error.code == MONGOC_ERROR_DUPLICATE_KEY, &error);
    return ok;
}

/* Adds articles. Prints how many were added, and the indexes of those that were not. */
static void stock_add_all(stock_t *stock, const bson_t **added, size_t count) {
    bson_t reply;
    bson_error_t error;
    bson_iter_t errors, each, index;
    bson_t *options = BCON_NEW("ordered", BCON_BOOL(false));
    bool ok = mongoc_collection_insert_many(stock->articles, added, count, options, &reply, &error);
    check(ok || error.code == MONGOC_ERROR_DUPLICATE_KEY, &error);
    printf("added %d, rejected [", (int) number(&reply, "insertedCount"));
    if (bson_iter_init_find(&errors, &reply, "writeErrors") && bson_iter_recurse(&errors, &each)) {
        for (const char *comma = ""; bson_iter_next(&each); comma = ", ") {
            if (bson_iter_recurse(&each, &index) && bson_iter_find(&index, "index")) {
                printf("%s%d", comma, bson_iter_int32(&index));
            }
        }
    }
    printf("]\n");
    bson_destroy(&reply);
    bson_destroy(options);
}

/* Lists the cheapest articles of a kind. */
static void stock_cheapest(stock_t *stock, const char *kind, int limit) {
    const bson_t *row;
    bson_error_t error;
    bson_t *filter = BCON_NEW("kind", BCON_UTF8(kind), "count", "{", "$gt", BCON_INT32(0), "}");
    bson_t *options = BCON_NEW(
        "projection", "{", "name", BCON_INT32(1), "price", BCON_INT32(1), "}",
        "sort", "{", "price", BCON_INT32(1), "_id", BCON_INT32(1), "}",
        "limit", BCON_INT64(limit), "batchSize", BCON_INT64(2),
        "hint", "{", "kind", BCON_INT32(1), "price", BCON_INT32(1), "}", "maxTimeMS", BCON_INT64(5000));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(stock->articles, filter, options, NULL);
    while (mongoc_cursor_next(cursor, &row)) {
        printf("%s: %.3f\n", text(row, "name"), real(row, "price"));
    }
    check(!mongoc_cursor_error(cursor, &error), &error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(filter);
}

/* Finds an article by its name, whatever the case of the letters. */
static void stock_named(stock_t *stock, const char *name) {
    const bson_t *found = NULL;
    bson_error_t error;
    bson_t *filter = BCON_NEW("name", BCON_UTF8(name));
    bson_t *options = BCON_NEW("limit", BCON_INT64(1), "collation", "{", "locale", BCON_UTF8("en"),
                               "strength", BCON_INT32(2), "}");
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(stock->articles, filter, options, NULL);
    printf("found: %s\n", mongoc_cursor_next(cursor, &found) ? text(found, "_id") : "");
    check(!mongoc_cursor_error(cursor, &error), &error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(filter);
}

/* Takes articles out of the stock. Prints how many are left, or that there are not enough. */
static void stock_take(stock_t *stock, const char *sku, int count) {
    bson_t reply, value;
    bson_error_t error;
    bson_iter_t found;
    bson_t *filter = BCON_NEW("_id", BCON_UTF8(sku), "count", "{", "$gte", BCON_INT32(count), "}");
    bson_t *update = BCON_NEW("$inc", "{", "count", BCON_INT32(-count), "}");
    mongoc_find_and_modify_opts_t *options = mongoc_find_and_modify_opts_new();
    mongoc_find_and_modify_opts_set_update(options, update);
    mongoc_find_and_modify_opts_set_flags(options, MONGOC_FIND_AND_MODIFY_RETURN_NEW);
    bool ok = mongoc_collection_find_and_modify_with_opts(stock->articles, filter, options, &reply, &error);
    check(ok, &error);
    if (bson_iter_init_find(&found, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&found)) {
        uint32_t length;
        const uint8_t *bytes;
        bson_iter_document(&found, &length, &bytes);
        bson_init_static(&value, bytes, length);
        printf("took %d, %d left\n", count, (int) number(&value, "count"));
    } else {
        printf("there are no %d\n", count);
    }
    mongoc_find_and_modify_opts_destroy(options);
    bson_destroy(&reply);
    bson_destroy(update);
    bson_destroy(filter);
}

/* Puts the articles of a kind on shelves, which have the name of the kind and of the article. */
static int64_t stock_put_on_shelves(stock_t *stock, const char *kind) {
    bson_t reply;
    bson_error_t error;
    bson_t *filter = BCON_NEW("kind", BCON_UTF8(kind), "shelf", "{", "$exists", BCON_BOOL(false), "}");
    bson_t *update = BCON_NEW("0", "{", "$set", "{", "shelf", "{", "$concat", "[", BCON_UTF8("$kind"),
                              BCON_UTF8("-"), BCON_UTF8("$name"), "]", "}", "}", "}");
    check(mongoc_collection_update_many(stock->articles, filter, update, NULL, &reply, &error), &error);
    int64_t changed = number(&reply, "modifiedCount");
    bson_destroy(&reply);
    bson_destroy(update);
    bson_destroy(filter);
    return changed;
}

/* Books a delivery: how many of each article have arrived. */
static int64_t stock_deliver(stock_t *stock, const arrival_t *delivery, size_t count) {
    bson_t reply;
    bson_error_t error;
    bson_t *options = BCON_NEW("ordered", BCON_BOOL(false));
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(stock->articles, options);
    for (size_t i = 0; i < count; i++) {
        bson_t *filter = BCON_NEW("_id", BCON_UTF8(delivery[i].sku));
        bson_t *update = BCON_NEW("$inc", "{", "count", BCON_INT32(delivery[i].count), "}");
        check(mongoc_bulk_operation_update_one_with_opts(bulk, filter, update, NULL, &error), &error);
        bson_destroy(update);
        bson_destroy(filter);
    }
    check(mongoc_bulk_operation_execute(bulk, &reply, &error) != 0, &error);
    int64_t matched = number(&reply, "nMatched");
    mongoc_bulk_operation_destroy(bulk);
    bson_destroy(&reply);
    bson_destroy(options);
    return matched;
}

/* Prints the number of articles and the value of each kind. */
static void stock_totals(stock_t *stock) {
    const bson_t *total;
    bson_error_t error;
    bson_t *stages = BCON_NEW(
        "pipeline", "[", "{", "$group", "{", "_id", BCON_UTF8("$kind"),
        "articles", "{", "$sum", BCON_INT32(1), "}",
        "value", "{", "$sum", "{", "$multiply", "[", BCON_UTF8("$count"), BCON_UTF8("$price"), "]", "}", "}", "}", "}",
        "{", "$sort", "{", "_id", BCON_INT32(1), "}", "}", "]");
    bson_t *options = BCON_NEW("allowDiskUse", BCON_BOOL(true));
    mongoc_cursor_t *cursor =
        mongoc_collection_aggregate(stock->articles, MONGOC_QUERY_NONE, stages, options, NULL);
    while (mongoc_cursor_next(cursor, &total)) {
        printf("%s: %d articles, %.2f\n", text(total, "_id"), (int) number(total, "articles"), real(total, "value"));
    }
    check(!mongoc_cursor_error(cursor, &error), &error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(stages);
}

/* Removes the articles that are used up, and prints the names of those that are left. */
static void stock_clean_up(stock_t *stock) {
    const bson_t *left;
    bson_error_t error;
    mongoc_client_session_t *session = mongoc_client_start_session(stock->client, NULL, &error);
    check(session != NULL, &error);
    bson_t *used_up = BCON_NEW("count", BCON_INT32(0));
    bson_t *remove = bson_new();
    check(mongoc_client_session_append(session, remove, &error), &error);
    check(mongoc_collection_delete_many(stock->articles, used_up, remove, NULL, &error), &error);

    bson_t *all = bson_new();
    bson_t *options = BCON_NEW("sort", "{", "name", BCON_INT32(1), "}");
    check(mongoc_client_session_append(session, options, &error), &error);
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(stock->articles, all, options, NULL);
    printf("left: ");
    for (const char *comma = ""; mongoc_cursor_next(cursor, &left); comma = ", ") {
        printf("%s%s", comma, text(left, "name"));
    }
    printf("\n");
    check(!mongoc_cursor_error(cursor, &error), &error);
    mongoc_cursor_destroy(cursor);
    mongoc_client_session_destroy(session);
    bson_destroy(options);
    bson_destroy(all);
    bson_destroy(remove);
    bson_destroy(used_up);
}

/* Prints the number of kinds. */
static void stock_kinds(stock_t *stock) {
    bson_t reply;
    bson_error_t error;
    bson_iter_t values, each;
    int kinds = 0;
    bson_t *distinct = BCON_NEW("distinct", BCON_UTF8("articles"), "key", BCON_UTF8("kind"));
    check(mongoc_database_read_command_with_opts(stock->database, distinct, NULL, NULL, &reply, &error), &error);
    if (bson_iter_init_find(&values, &reply, "values") && bson_iter_recurse(&values, &each)) {
        while (bson_iter_next(&each)) {
            kinds++;
        }
    }
    printf("kinds: %d\n", kinds);
    bson_destroy(&reply);
    bson_destroy(distinct);
}

int main(int argc, char **argv) {
    stock_t stock;
    bson_error_t error;
    mongoc_init();
    stock_open(&stock, argc > 1 ? argv[1] : "mongodb://localhost", argc > 2 ? argv[2] : "warehouse");

    bson_t *bolt = article("B4", "Bolt M4", "bolt", 100, 0.25);
    printf("added: %s\n", stock_add(&stock, bolt) ? "true" : "false");
    printf("added again: %s\n", stock_add(&stock, bolt) ? "true" : "false");
    bson_destroy(bolt);
    bson_t *more[] = {
        article("B5", "Bolt M5", "bolt", 40, 0.5),
        article("B6", "Bolt M4", "bolt", 1, 0.5),
        article("B8", "Bolt M8", "bolt", 10, 1.5),
        article("N4", "Nut M4", "nut", 20, 0.125),
    };
    stock_add_all(&stock, (const bson_t **) more, 4);
    for (int i = 0; i < 4; i++) {
        bson_destroy(more[i]);
    }
    stock_cheapest(&stock, "bolt", 2);
    stock_named(&stock, "nut m4");
    stock_take(&stock, "N4", 15);
    stock_take(&stock, "N4", 15);
    stock_take(&stock, "N4", 5);
    printf("on shelves: %d\n", (int) stock_put_on_shelves(&stock, "bolt"));
    const arrival_t delivery[] = {{"B4", 50}, {"B5", 10}, {"X1", 1}};
    printf("booked: %d\n", (int) stock_deliver(&stock, delivery, 3));
    stock_totals(&stock);
    stock_clean_up(&stock);
    stock_kinds(&stock);
    check(mongoc_database_drop(stock.database, &error), &error);

    mongoc_collection_destroy(stock.articles);
    mongoc_database_destroy(stock.database);
    mongoc_client_destroy(stock.client);
    mongoc_cleanup();
    return 0;
}
