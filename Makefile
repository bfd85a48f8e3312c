# What there is to do here: `make` or `make help`. Everything sets up what it needs by itself.
# docs/testing.md has the environment variables.

# All features but `vendored`, with which another OpenSSL is built; the scripts ask for them with `make features`.
FEATURES := cli,bundled-roots,zstd,zlib,snappy,srv
# All that the tests cover; `gssapi` needs the Kerberos library's headers and libclang.
ALL_FEATURES := $(FEATURES),gssapi
STATIC_TARGET := $(shell uname -m)-unknown-linux-musl

ifeq ($(CI),true)
# Nothing may be skipped in CI: tests fail if FerretDB or HAProxy is missing.
export MONGOTLS_REQUIRE_PEERS ?= 1
# A lock file that does not match Cargo.toml was forgotten in the commit.
LOCKED := --locked
endif

.PHONY: help features setup demo test guard check lint doc certs bench bench-compression bench-crl bench-handshakes bench-pool bench-scale bench-topology bench-weight soak fuzz model storm valgrind audit msrv openssl-1.1.1 release-check static ferretdb clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

features:
	@echo $(FEATURES)

setup: ## Install the system packages that are missing (Debian, Ubuntu)
	@sh tests/setup.sh test

demo: ## Ping, insert, find and explain a failure, against a server from the test bench
	@sh tests/setup.sh build
	@sh tests/demo.sh

test: setup ## Run all tests; builds FerretDB the first time if Go is installed
	@sh tests/run.sh $(ALL_FEATURES) $(LOCKED)

guard: setup ## Fail where a ping costs more than it did: system calls, allocations, instructions
	cargo test $(LOCKED) --release --test guard

check: lint doc certs test guard ## Run all that CI runs

lint: setup ## Check the format, and run clippy with warnings denied
	cargo fmt --all --check
	cargo fmt --all --manifest-path benches/peers/Cargo.toml --check
	cargo clippy $(LOCKED) --lib --no-default-features -- -D warnings
	cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings
	cargo clippy $(LOCKED) --workspace --all-targets --features $(FEATURES) -- -D warnings
	cargo clippy $(LOCKED) --workspace --all-targets --features $(ALL_FEATURES) -- -D warnings

doc: setup ## Build the documentation with warnings denied
	RUSTDOCFLAGS='-D warnings' cargo doc $(LOCKED) --no-deps --workspace --features $(ALL_FEATURES)

certs: setup ## Check that vendor-certs/ holds what its README says
	vendor-certs/update --check

# BENCH may name workloads, peers, and a number of rounds: make bench BENCH='ping cursor floor mongotls 5'. What there
# is to choose from, it says itself: make bench BENCH=help.
bench: ## Compare mongotls with a bare program on OpenSSL and with other drivers (6 minutes)
	@sh tests/setup.sh bench
	@LOCKED='$(LOCKED)' benches/peers/bench.sh $(BENCH)

bench-weight: ## Compare the smallest program's crates, build time and size with the mongodb crate's (5 minutes)
	@sh tests/setup.sh bench
	@LOCKED='$(LOCKED)' benches/peers/weigh.sh

bench-handshakes: setup ## Compare full handshakes with stapled and with resumed ones
	cargo bench $(LOCKED) --bench handshakes

bench-compression: setup ## Compare pings on connections that compress with others
	cargo bench $(LOCKED) --features snappy,zlib,zstd --bench compression

bench-topology: setup ## Measure a client of 1, 10 and 200 servers at rest (3 minutes)
	cargo bench $(LOCKED) --bench topology

bench-scale: setup ## Measure 1 to 1000 connections and 1 to 256 threads (5 minutes)
	cargo bench $(LOCKED) --bench scale

soak: setup ## Reload every file of TLS, then kill the server every second, under load (3 minutes)
	cargo test $(LOCKED) --release --test soak

bench-crl: setup ## Compare the load of a CRL of a million entries with OpenSSL's own loader
	cargo bench $(LOCKED) --bench crl

# In a workspace of its own: whoever builds the library does not build its peers.
bench-pool: setup ## Compare the pool with those of r2d2 and of the mongodb crate (4 minutes)
	cargo run $(LOCKED) --release --manifest-path benches/peers/Cargo.toml --package pools \
	    --target-dir $${CARGO_TARGET_DIR:-target}/peers

fuzz: setup ## Feed mutated OCSP responses to the check for MONGOTLS_FUZZ_SECONDS (600)
	MONGOTLS_FUZZ_SECONDS=$${MONGOTLS_FUZZ_SECONDS:-600} \
	    cargo test $(LOCKED) --release --lib random_and_mutated_responses -- --nocapture

model: setup ## Try many more schedules of the pool's lock and wait queue than make test does
	MONGOTLS_MODEL_SCHEDULES=$${MONGOTLS_MODEL_SCHEDULES:-200000} \
	    cargo test $(LOCKED) --release --package mongotls-model

storm: setup ## Let threads loose on the pool for MONGOTLS_FUZZ_ROUNDS steps (10 million)
	MONGOTLS_FUZZ_ROUNDS=$${MONGOTLS_FUZZ_ROUNDS:-10000000} \
	    cargo test $(LOCKED) --lib a_storm_of_users -- --nocapture

valgrind: setup ## Run the tests of TLS under valgrind (a quarter of an hour)
	sh tests/valgrind.sh

audit: ## Check licences, sources, advisories and unused dependencies
	.ci/audit

release-check: ## Run every check that a release needs, and list what could not run (2 hours)
	@.ci/release-check $(STEPS)

msrv: ## Compile with the oldest Rust that Cargo.toml promises
	.ci/msrv

openssl-1.1.1: ## Run the tests with the oldest OpenSSL that will do
	.ci/openssl-1.1.1

# musl, for its resolver works without libraries; that of glibc does not. OpenSSL takes some minutes.
static: ## Build the command line as one file without libraries, and run it in an empty root
	@sh tests/setup.sh static
	cargo build $(LOCKED) --release --features vendored,$(FEATURES) --target $(STATIC_TARGET)
	@sh tests/static.sh $${CARGO_TARGET_DIR:-target}/$(STATIC_TARGET)/release/mongotls

ferretdb: ## Build FerretDB, the real server that tests run against, once (needs Go)
	@[ -n "$$MONGOTLS_FERRETDB" ] || sh tests/support/get-ferretdb.sh >/dev/null

clean: ## Remove what was built here (FerretDB stays in its cache)
	cargo clean
