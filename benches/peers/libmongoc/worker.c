/* libmongoc, as a program uses it. It does what the lines of kit/src/worker.rs say. */

#include <inttypes.h>
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WRITTEN = 100000, BATCH = 1000, WRITTEN_SIZE = 256, SALE_TEXT = 183, WARM_UP = 100, PIECE = 65536 };

static const char *port, *ca_file;
static mongoc_client_t *client;

typedef struct {
    int64_t cpu, wall;
} took_t;

static int64_t now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static took_t start(void) {
    took_t took = {.wall = now(CLOCK_MONOTONIC)};
    took.cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    return took;
}

static void end(took_t *took) {
    took->cpu = now(CLOCK_PROCESS_CPUTIME_ID) - took->cpu;
    took->wall = now(CLOCK_MONOTONIC) - took->wall;
}

static void fail(const char *what, const bson_error_t *error) {
    fprintf(stderr, "worker-libmongoc: %s: %s\n", what, error ? error->message : "no client");
    exit(1);
}

static mongoc_uri_t *uri(const char *of_port, const char *of_ca_file, const char *options) {
    char text[4096];
    bson_error_t error;
    snprintf(text, sizeof text, "mongodb://127.0.0.1:%s/?tls=true%s%s%s", of_port,
             of_ca_file ? "&tlsCAFile=" : "", of_ca_file ? of_ca_file : "", options);
    mongoc_uri_t *parsed = mongoc_uri_new_with_error(text, &error);
    if (!parsed) fail(text, &error);
    return parsed;
}

static mongoc_client_t *new_client(const char *of_port, const char *of_ca_file, const char *options) {
    mongoc_uri_t *parsed = uri(of_port, of_ca_file, options);
    mongoc_client_t *made = mongoc_client_new_from_uri(parsed);
    if (!made) fail("a client", NULL);
    mongoc_uri_destroy(parsed);
    return made;
}

static mongoc_client_pool_t *new_pool(int connections) {
    mongoc_uri_t *parsed = uri(port, ca_file, "");
    mongoc_client_pool_t *pool = mongoc_client_pool_new(parsed);
    mongoc_client_pool_max_size(pool, connections);
    mongoc_uri_destroy(parsed);
    return pool;
}

static void ping(mongoc_client_t *with) {
    bson_t command = BSON_INITIALIZER, reply;
    bson_error_t error;
    BSON_APPEND_INT32(&command, "ping", 1);
    if (!mongoc_client_command_simple(with, "admin", &command, NULL, &reply, &error)) fail("ping", &error);
    bson_destroy(&reply);
    bson_destroy(&command);
}

static int read_all(void) {
    mongoc_collection_t *collection = mongoc_client_get_collection(client, "bench", "documents");
    bson_t filter = BSON_INITIALIZER, *options = BCON_NEW("batchSize", BCON_INT32(BATCH));
    mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, &filter, options, NULL);
    const bson_t *document;
    bson_error_t error;
    int count = 0;
    while (mongoc_cursor_next(cursor, &document)) count++;
    if (mongoc_cursor_error(cursor, &error)) fail("find", &error);
    mongoc_cursor_destroy(cursor);
    bson_destroy(options);
    bson_destroy(&filter);
    mongoc_collection_destroy(collection);
    return count;
}

static bson_t *document_to_write(int id, const char *text) {
    return BCON_NEW("_id", BCON_INT32(id), "number", BCON_INT64(123456), "price", BCON_DOUBLE(1234.5), "active",
                    BCON_BOOL(true), "text", BCON_UTF8(text));
}

static took_t write_all(void) {
    char text[WRITTEN_SIZE] = "";
    bson_t *empty = document_to_write(0, text), *documents[BATCH];
    memset(text, 'x', WRITTEN_SIZE - empty->len);
    bson_destroy(empty);
    for (int id = 0; id < BATCH; id++) documents[id] = document_to_write(id, text);
    mongoc_collection_t *collection = mongoc_client_get_collection(client, "bench", "documents");
    took_t took = start();
    for (int written = 0; written < WRITTEN; written += BATCH) {
        bson_error_t error;
        if (!mongoc_collection_insert_many(collection, (const bson_t **)documents, BATCH, NULL, NULL, &error))
            fail("insert", &error);
    }
    end(&took);
    mongoc_collection_destroy(collection);
    for (int id = 0; id < BATCH; id++) bson_destroy(documents[id]);
    return took;
}

static mongoc_collection_t *collection_named(const char *name) {
    return mongoc_client_get_collection(client, "bench", name);
}

static bson_t *sale(int64_t number) {
    static char text[SALE_TEXT + 1];
    memset(text, 'x', SALE_TEXT);
    bson_t *made = bson_new();
    BSON_APPEND_INT64(made, "number", number);
    BSON_APPEND_DOUBLE(made, "price", 1234.5);
    BSON_APPEND_BOOL(made, "active", true);
    BSON_APPEND_UTF8(made, "text", text);
    return made;
}

static took_t insert_one(int count) {
    mongoc_collection_t *collection = collection_named("documents");
    bson_error_t error;
    took_t took = start();
    for (int i = 0; i < count; i++) {
        bson_t *document = sale(0);
        if (!mongoc_collection_insert_one(collection, document, NULL, NULL, &error)) fail("insert_one", &error);
        bson_destroy(document);
    }
    end(&took);
    mongoc_collection_destroy(collection);
    return took;
}

static took_t find_one(int count) {
    mongoc_collection_t *collection = collection_named("one");
    bson_t *options = BCON_NEW("limit", BCON_INT64(1), "singleBatch", BCON_BOOL(true));
    took_t took = start();
    for (int i = 0; i < count; i++) {
        bson_t filter = BSON_INITIALIZER;
        BSON_APPEND_INT32(&filter, "number", 0);
        mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(collection, &filter, options, NULL);
        const bson_t *document;
        if (!mongoc_cursor_next(cursor, &document)) fail("no document", NULL);
        mongoc_cursor_destroy(cursor);
        bson_destroy(&filter);
    }
    end(&took);
    bson_destroy(options);
    mongoc_collection_destroy(collection);
    return took;
}

static took_t insert_many(void) {
    mongoc_collection_t *collection = collection_named("documents");
    bson_t **documents = calloc(WRITTEN, sizeof *documents);
    bson_error_t error;
    took_t took = start();
    for (int i = 0; i < WRITTEN; i++) documents[i] = sale(i);
    if (!mongoc_collection_insert_many(collection, (const bson_t **)documents, WRITTEN, NULL, NULL, &error))
        fail("insert_many", &error);
    end(&took);
    for (int i = 0; i < WRITTEN; i++) bson_destroy(documents[i]);
    free(documents);
    mongoc_collection_destroy(collection);
    return took;
}

static took_t bulk(void) {
    mongoc_collection_t *collection = collection_named("documents");
    bson_error_t error;
    bson_t reply;
    took_t took = start();
    mongoc_bulk_operation_t *made = mongoc_collection_create_bulk_operation_with_opts(collection, NULL);
    for (int i = 0; i < WRITTEN; i++) {
        bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, set;
        BSON_APPEND_INT64(&filter, "number", i);
        BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
        BSON_APPEND_DOUBLE(&set, "price", 99.5);
        BSON_APPEND_BOOL(&set, "active", false);
        bson_append_document_end(&update, &set);
        if (!mongoc_bulk_operation_update_one_with_opts(made, &filter, &update, NULL, &error))
            fail("an update", &error);
        bson_destroy(&filter);
        bson_destroy(&update);
    }
    if (!mongoc_bulk_operation_execute(made, &reply, &error)) fail("a bulk write", &error);
    end(&took);
    bson_destroy(&reply);
    mongoc_bulk_operation_destroy(made);
    mongoc_collection_destroy(collection);
    return took;
}

typedef struct {
    mongoc_client_pool_t *pool;
    pthread_barrier_t *ready, *go;
    int count;
    int64_t *each;
} crew_t;

static void *work(void *argument) {
    const crew_t *crew = argument;
    for (int i = -WARM_UP; i < crew->count; i++) {
        if (i == 0) {
            pthread_barrier_wait(crew->ready);
            pthread_barrier_wait(crew->go);
        }
        int64_t asked = now(CLOCK_MONOTONIC);
        mongoc_client_t *of_pool = mongoc_client_pool_pop(crew->pool);
        ping(of_pool);
        mongoc_client_pool_push(crew->pool, of_pool);
        if (i >= 0) crew->each[i] = now(CLOCK_MONOTONIC) - asked;
    }
    return NULL;
}

static int compare(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

static void threads(int number, int connections, int count) {
    mongoc_client_pool_t *pool = new_pool(connections);
    pthread_barrier_t ready, go;
    pthread_barrier_init(&ready, NULL, number + 1);
    pthread_barrier_init(&go, NULL, number + 1);
    int64_t *each = calloc((size_t)number * count, sizeof *each);
    crew_t *crews = calloc(number, sizeof *crews);
    pthread_t *ids = calloc(number, sizeof *ids);
    for (int i = 0; i < number; i++) {
        crews[i] = (crew_t){pool, &ready, &go, count, each + (size_t)i * count};
        pthread_create(&ids[i], NULL, work, &crews[i]);
    }
    pthread_barrier_wait(&ready);
    took_t took = start();
    pthread_barrier_wait(&go);
    for (int i = 0; i < number; i++) pthread_join(ids[i], NULL);
    end(&took);
    size_t all = (size_t)number * count;
    qsort(each, all, sizeof *each, compare);
    printf("%" PRId64 " %" PRId64 " %" PRId64 "\n", took.cpu, took.wall, each[all * 99 / 100]);
    free(ids);
    free(crews);
    free(each);
    mongoc_client_pool_destroy(pool);
}

static long resident(void) {
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status)) sscanf(line, "VmRSS: %ld", &kib);
    fclose(status);
    return kib * 1024;
}

/* A client of the pool has one connection, and the pool keeps it. */
static void idle(int count) {
    mongoc_client_pool_t *first = new_pool(1), *pool = new_pool(count);
    mongoc_client_t **clients = calloc(count, sizeof *clients);
    mongoc_client_t *one = mongoc_client_pool_pop(first);
    ping(one);
    usleep(500000);
    long before = resident();
    for (int i = 0; i < count; i++) ping(clients[i] = mongoc_client_pool_pop(pool));
    for (int i = 0; i < count; i++) mongoc_client_pool_push(pool, clients[i]);
    usleep(500000);
    printf("%ld\n", (resident() - before) / count);
    free(clients);
    mongoc_client_pool_push(first, one);
    mongoc_client_pool_destroy(pool);
    mongoc_client_pool_destroy(first);
}

static mongoc_gridfs_bucket_t *bucket(mongoc_database_t *database) {
    bson_error_t error;
    mongoc_gridfs_bucket_t *bucket = mongoc_gridfs_bucket_new(database, NULL, NULL, &error);
    if (!bucket) fail("no bucket", &error);
    return bucket;
}

static void upload(int mebibytes) {
    static char piece[PIECE];
    bson_error_t error;
    bson_value_t id;
    mongoc_database_t *database = mongoc_client_get_database(client, "bench");
    mongoc_gridfs_bucket_t *files = bucket(database);
    mongoc_stream_t *stream = mongoc_gridfs_bucket_open_upload_stream(files, "file", NULL, &id, &error);
    if (!stream) fail("no upload", &error);
    for (int i = 0; i < mebibytes * ((1 << 20) / PIECE); i++) {
        if (mongoc_stream_write(stream, piece, PIECE, -1) != PIECE) fail("no piece written", NULL);
    }
    if (mongoc_stream_close(stream)) fail("no file", NULL);
    mongoc_stream_destroy(stream);
    bson_value_destroy(&id);
    mongoc_gridfs_bucket_destroy(files);
    mongoc_database_destroy(database);
}

static void download(int mebibytes) {
    static char piece[PIECE];
    bson_error_t error;
    bson_value_t id = {.value_type = BSON_TYPE_INT64, .value.v_int64 = (int64_t)mebibytes << 20};
    mongoc_database_t *database = mongoc_client_get_database(client, "bench");
    mongoc_gridfs_bucket_t *files = bucket(database);
    mongoc_stream_t *stream = mongoc_gridfs_bucket_open_download_stream(files, &id, &error);
    if (!stream) fail("no download", &error);
    int64_t all = 0;
    ssize_t read;
    while ((read = mongoc_stream_read(stream, piece, PIECE, 0, -1)) > 0) all += read;
    if (all != id.value.v_int64) fail("the file is not complete", NULL);
    mongoc_stream_destroy(stream);
    mongoc_gridfs_bucket_destroy(files);
    mongoc_database_destroy(database);
}

static void answer(char *line) {
    char *words[4] = {"", "", "", ""};
    for (int i = 0; i < 4; i++) {
        char *word = strtok(i ? NULL : line, " \n");
        if (!word) break;
        words[i] = word;
    }
    int number = atoi(words[1]);
    took_t took = {0, 0};
    if (!strcmp(words[0], "open")) {
        client = new_client(port, ca_file, words[1]);
        ping(client);
    } else if (!strcmp(words[0], "connect")) {
        took = start();
        for (int i = 0; i < number; i++) {
            mongoc_client_t *new = new_client(port, ca_file, words[2]);
            ping(new);
            mongoc_client_destroy(new);
        }
        end(&took);
    } else if (!strcmp(words[0], "ping")) {
        took = start();
        for (int i = 0; i < number; i++) ping(client);
        end(&took);
    } else if (!strcmp(words[0], "threads")) {
        threads(number, atoi(words[2]), atoi(words[3]));
        return;
    } else if (!strcmp(words[0], "read") && !strcmp(words[1], "raw")) {
        took = start();
        if (read_all() != WRITTEN) fail("too few documents", NULL);
        end(&took);
    } else if (!strcmp(words[0], "write")) {
        took = write_all();
    } else if (!strcmp(words[0], "insert_one")) {
        took = insert_one(number);
    } else if (!strcmp(words[0], "find_one")) {
        took = find_one(number);
    } else if (!strcmp(words[0], "insert_many")) {
        took = insert_many();
    } else if (!strcmp(words[0], "bulk")) {
        took = bulk();
    } else if (!strcmp(words[0], "upload")) {
        took = start();
        upload(number);
        end(&took);
    } else if (!strcmp(words[0], "download")) {
        took = start();
        download(number);
        end(&took);
    } else if (!strcmp(words[0], "idle")) {
        idle(number);
        return;
    } else if (!strcmp(words[0], "build")) {
        took = start();
        mongoc_client_t *built = new_client(words[1], *words[2] ? words[2] : NULL, "");
        end(&took);
        mongoc_client_destroy(built);
    } else if (!strcmp(words[0], "fresh")) {
        puts("no it has no maxIdleTimeMS");
        return;
    } else {
        puts("no it has bson_t alone");
        return;
    }
    printf("%" PRId64 " %" PRId64 "\n", took.cpu, took.wall);
}

int main(int count, char **arguments) {
    char line[4096];
    if (count != 3) {
        fputs("Usage: worker PORT CA_FILE\n", stderr);
        return 2;
    }
    port = arguments[1];
    ca_file = arguments[2];
    mongoc_init();
    while (fgets(line, sizeof line, stdin)) {
        answer(line);
        fflush(stdout);
    }
    if (client) mongoc_client_destroy(client);
    mongoc_cleanup();
    return 0;
}
