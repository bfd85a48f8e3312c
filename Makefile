# `make` or `make help` lists the targets. Each target installs what it needs.
# docs/testing.md describes the environment variables.

# All features except `vendored`, which builds another OpenSSL. The scripts read them with `make features`.
FEATURES := cli,bundled-roots,log-kv,zstd,zlib,snappy,srv
# All features that the tests cover. `gssapi` needs the Kerberos library's headers and libclang.
ALL_FEATURES := $(FEATURES),gssapi
STATIC_TARGET := $(shell uname -m)-unknown-linux-musl

ifeq ($(CI),true)
# CI must not skip tests: they fail if FerretDB or HAProxy is missing.
export MONGOTLS_REQUIRE_PEERS ?= 1
# Fails if the lock file does not match Cargo.toml, because it is missing in the commit then.
LOCKED := --locked
endif

.PHONY: bank bank-mutants help features setup demo test spec-mutants beside guard check lint doc certs bench bench-compression bench-crl bench-handshakes bench-memory bench-pool bench-scale bench-topology bench-weight differential soak fuzz faults model storm valgrind watch-mutants watch-soak audit public-api msrv openssl-1.1.1 release-check referee static ferretdb secantus clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

features:
	@echo $(FEATURES)

setup: ## Install missing system packages (Debian, Ubuntu)
	@sh tests/setup.sh test

demo: ## Run a program with a collection and explain a failure, with a server of the test bench
	@sh tests/setup.sh build
	@sh tests/demo.sh

test: setup ## Run all tests; installs SecantusDB the first time, and builds FerretDB if Go is installed
	@sh tests/run.sh $(ALL_FEATURES) $(LOCKED)

# SAMPLE limits the number of changes: make spec-mutants SAMPLE=200.
spec-mutants: setup ## Change expected values of the unified test format one at a time; list what no case notices
	cargo test $(LOCKED) --features $(FEATURES) --test spec -- --mutants$(if $(SAMPLE),=$(SAMPLE))

guard: setup ## Fail if a ping, insert_one or find_one costs more than before: system calls, allocations, instructions
	cargo test $(LOCKED) --release --test guard

check: lint doc certs test guard ## Run the checks of CI

lint: setup ## Check the format, and run clippy with warnings denied
	cargo fmt --all --check
	cargo fmt --all --manifest-path benches/peers/Cargo.toml --check
	cargo clippy $(LOCKED) --lib --no-default-features -- -D warnings
	cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	cargo clippy $(LOCKED) --workspace --all-targets --features $(FEATURES) -- -D warnings
	cargo clippy $(LOCKED) --workspace --all-targets --features $(ALL_FEATURES) -- -D warnings

doc: setup ## Build the documentation with warnings denied
	RUSTDOCFLAGS='-D warnings' cargo doc $(LOCKED) --no-deps --workspace --features $(ALL_FEATURES)

certs: setup ## Check that vendor-certs/ matches its README
	vendor-certs/update --check

# BENCH selects workloads and peers, and sets the rounds: make bench BENCH='ping cursor floor mongotls 5'.
# make bench BENCH=help lists them.
bench: ## Compare mongotls with a bare program on OpenSSL and with other drivers (8 minutes)
	@sh tests/setup.sh bench
	@LOCKED='$(LOCKED)' benches/peers/bench.sh $(BENCH)

bench-weight: ## Compare the crates, build time and size of a small program with the mongodb crate (5 minutes)
	@sh tests/setup.sh bench
	@LOCKED='$(LOCKED)' benches/peers/weigh.sh

bench-handshakes: setup ## Compare full, stapled and resumed handshakes
	cargo bench $(LOCKED) --bench handshakes

bench-compression: setup ## Compare pings with and without compression
	cargo bench $(LOCKED) --features snappy,zlib,zstd --bench compression

bench-topology: setup ## Measure a client of 1, 10 and 200 servers at rest (3 minutes)
	cargo bench $(LOCKED) --bench topology

# TABLES selects some: handshakes, rest, threads, limits.
bench-scale: setup ## Measure 1 to 1000 connections and 1 to 256 threads (5 minutes)
	cargo bench $(LOCKED) --bench scale$(if $(TABLES), -- $(TABLES))

# PART divides the numbers of documents and the size of the file: make bench-memory PART=100.
bench-memory: setup ## Measure the peak memory of many writes and of large files (2 minutes)
	cargo bench $(LOCKED) --bench memory$(if $(PART), -- $(PART))

soak: setup ## Reload every TLS file, then kill the server every second, under load (3 minutes)
	cargo test $(LOCKED) --release --test soak

# MONGOTLS_BANK_SECONDS and MONGOTLS_BANK_SEED set the time of each run and the seed.
bank: setup secantus ## Transfer money in transactions under faults, with this crate and with PyMongo (8 minutes)
	MONGOTLS_BANK_SECONDS=$${MONGOTLS_BANK_SECONDS:-120} MONGOTLS_REQUIRE_PEERS=1 \
	    cargo test $(LOCKED) --features $(FEATURES) --test it bank:: -- --nocapture --test-threads=1

bank-mutants: setup secantus ## Check that the bank test finds wrong implementations (15 minutes)
	sh tests/mutants.sh bank $(FEATURES)

# MONGOTLS_WATCH_SECONDS and MONGOTLS_WATCH_SEED set the time of each run and the seed.
watch-soak: setup secantus ## Follow changes with two readers under faults (5 minutes)
	MONGOTLS_WATCH_SECONDS=$${MONGOTLS_WATCH_SECONDS:-120} MONGOTLS_REQUIRE_PEERS=1 \
	    cargo test $(LOCKED) --features $(FEATURES) --test it change_stream_soak:: -- --nocapture --test-threads=1

watch-mutants: setup secantus ## Check that this test finds wrong implementations of change streams (10 minutes)
	sh tests/mutants.sh watch $(FEATURES)

bench-crl: setup ## Compare loading a CRL of a million entries with OpenSSL's own loader
	cargo bench $(LOCKED) --bench crl

# A separate workspace: building the library does not build its peers.
beside: ## Compare documents, GridFS files and a ported program with other drivers (15 minutes)
	@sh tests/setup.sh bench
	@[ -n "$$MONGOTLS_SECANTUS" ] || sh tests/support/get-secantus.sh >/dev/null
	cargo test $(LOCKED) --manifest-path benches/peers/Cargo.toml --package beside \
	    --target-dir $${CARGO_TARGET_DIR:-target}/peers

bench-pool: setup ## Compare the pool with those of r2d2 and of the mongodb crate (4 minutes)
	cargo run $(LOCKED) --release --manifest-path benches/peers/Cargo.toml --package pools \
	    --target-dir $${CARGO_TARGET_DIR:-target}/peers

fuzz: setup secantus ## Check mutated OCSP responses for MONGOTLS_FUZZ_SECONDS (600), and replies of each operation
	MONGOTLS_FUZZ_SECONDS=$${MONGOTLS_FUZZ_SECONDS:-600} \
	    cargo test $(LOCKED) --release --lib random_and_mutated_responses -- --nocapture
	MONGOTLS_FUZZ_ROUNDS=$${MONGOTLS_FUZZ_ROUNDS:-3000} MONGOTLS_REQUIRE_PEERS=1 \
	    cargo test $(LOCKED) --release --test faults replies:: -- --nocapture

faults: setup secantus ## Run each operation under all faults, and cut the replies of bulks at each byte (10 minutes)
	MONGOTLS_FAULTS=all MONGOTLS_REQUIRE_PEERS=1 \
	    cargo test $(LOCKED) --release --test faults injection:: -- --nocapture --test-threads=1

model: setup ## Try many more schedules of the pool's lock and wait queue than make test
	MONGOTLS_MODEL_SCHEDULES=$${MONGOTLS_MODEL_SCHEDULES:-200000} \
	    cargo test $(LOCKED) --release --package mongotls-model

storm: setup ## Run free-running threads on the pool for MONGOTLS_FUZZ_ROUNDS steps (10 million)
	MONGOTLS_FUZZ_ROUNDS=$${MONGOTLS_FUZZ_ROUNDS:-10000000} \
	    cargo test $(LOCKED) --lib a_storm_of_users -- --nocapture

valgrind: setup ## Run the TLS tests under valgrind (a quarter of an hour)
	sh tests/valgrind.sh

public-api: ## Compare the public API with docs/public-api.txt (BLESS=--bless writes it)
	@.ci/public-api $(BLESS)

# make differential SEEDS=7-8 repeats seed 7. STORE=ferretdb uses FerretDB as the store.
differential: setup ## Compare 10,000 sequences of operations with other drivers (SEEDS; 25 minutes)
	LOCKED='$(LOCKED)' sh tests/differential.sh $(or $(SEEDS),10000) $(STORE)

# REFEREE selects suites and deployments: make referee REFEREE="--suite crud --deployment 'sharded 8.2'".
referee: setup secantus ## Run PyMongo's runner on the same servers, and judge tests/spec/server_cannot.txt
	cargo build $(LOCKED) --package mongotls-testbench --bins
	@sh tests/support/referee.sh $(REFEREE)

audit: ## Check licences, sources, advisories and unused dependencies
	.ci/audit

release-check: ## Run every check that a release needs, and list what could not run (2 hours)
	@.ci/release-check $(STEPS)

msrv: ## Compile with the oldest supported Rust
	.ci/msrv

openssl-1.1.1: ## Run the tests with the oldest supported OpenSSL
	.ci/openssl-1.1.1

# With musl, because its resolver works without libraries; that of glibc does not. OpenSSL takes some minutes.
static: ## Build the command line as one file without libraries, and run it in an empty root
	@sh tests/setup.sh static
	cargo build $(LOCKED) --release --features vendored,$(FEATURES) --target $(STATIC_TARGET)
	@sh tests/static.sh $${CARGO_TARGET_DIR:-target}/$(STATIC_TARGET)/release/mongotls

ferretdb: ## Build FerretDB, the real server of the tests, once (needs Go)
	@[ -n "$$MONGOTLS_FERRETDB" ] || sh tests/support/get-ferretdb.sh >/dev/null

secantus: ## Install SecantusDB, the store of the specifications' tests, once (needs Python)
	@[ -n "$$MONGOTLS_SECANTUS" ] || sh tests/support/get-secantus.sh >/dev/null

clean: ## Remove the build output (FerretDB and SecantusDB stay in their cache)
	cargo clean
