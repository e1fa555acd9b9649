# Two commands do everything on a fresh machine, installing what is missing:
#   make demo    see it work
#   make test    everything that CI runs
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One folder for the router, its benches and its fuzz targets: what they share is built once.
export CARGO_TARGET_DIR ?= $(CURDIR)/target

STEP := scripts/step.sh
# Crates with a workspace of their own, so that the router's build stays free of what they need.
CRATES := fuzz benches/promises benches/pingora-forwarder tests/loom
RELEASE := $(CARGO_TARGET_DIR)/release
# Quick runs show that a bench works; its figures are not to be quoted.
QUICK ?=

.PHONY: help demo build test lint docs unit histories loom examples fuzz-smoke deny bench fuzz install clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## Build, start a sample landscape, show what sleeps and wakes
	@scripts/need.sh rust cc python3
	cargo build --locked --bin landscape-router
	@$(CARGO_TARGET_DIR)/debug/landscape-router demo --folder $(CARGO_TARGET_DIR)/demo

build: ## The release binary
	@scripts/need.sh rust cc
	cargo build --locked --release

test: ## Everything that CI runs
	@scripts/need.sh rust cc c++ cmake python3 shellcheck? nft? ip? redis-server? redis-cli? psql?
	@SECONDS=0; for part in lint docs unit loom examples fuzz-smoke deny; do \
	  $(MAKE) $$part; done; printf '\n=== everything: ok, %d s\n' $$SECONDS

lint: ## Formatting and warnings, of every crate
	@$(STEP) "formatting" cargo fmt --check
	@for crate in $(CRATES); do $(STEP) "formatting of $$crate" cargo fmt --check --manifest-path $$crate/Cargo.toml; done
	@$(STEP) "clippy" cargo clippy --locked --all-targets -- -D warnings
	@for crate in $(CRATES); do $(STEP) "clippy of $$crate" \
	  cargo clippy --locked --all-targets --all-features --manifest-path $$crate/Cargo.toml -- -D warnings; done
	@if command -v shellcheck >/dev/null; then $(STEP) "shellcheck" scripts/shellcheck.sh; \
	  else echo "=== shellcheck: skipped, it is not installed"; fi

docs: ## The documentation of the code, private parts included, without a warning
	@RUSTDOCFLAGS="-D warnings" $(STEP) "documentation" cargo doc --locked --no-deps --document-private-items

unit: ## Unit, integration and documentation tests, with Docker where it can be had
	@$(STEP) "unit and integration tests" scripts/unit.sh
	@$(STEP) "tests of benches/promises" cargo test --locked --manifest-path benches/promises/Cargo.toml --lib

histories: ## Random histories of the rules, other ones each time: CASES of each, optimized
	PROPTEST_CASES=$${CASES:-20000} cargo test --locked --release --lib

loom: ## Model checks of the lock-free parts
	@$(STEP) "model checks" cargo test --locked --manifest-path tests/loom/Cargo.toml

examples: ## The files below config/, as `check` sees them
	@$(STEP) "example configurations" scripts/examples.sh

fuzz-smoke: ## Every fuzz target for some seconds, on its seeds and on what comes of them
	@scripts/need.sh rust c++
	@$(STEP) "fuzz targets" cargo run --quiet --locked --manifest-path fuzz/Cargo.toml --bin smoke

deny: ## Licences, sources and banned crates
	@$(STEP) "licences, sources, banned crates" scripts/deny.sh

bench: ## Every measurement; QUICK=1 for a short one
	@scripts/need.sh rust cc cmake haproxy nginx
	@QUICK=$(QUICK) scripts/bench.sh

fuzz: ## One fuzz target for as long as you like: make fuzz TARGET=ci_yml
	@scripts/need.sh rust c++
	@scripts/fuzz.sh $(TARGET)

install: build ## The release binary to $(DESTDIR)/usr/local/bin
	install -D -m 0755 $(RELEASE)/landscape-router $(DESTDIR)/usr/local/bin/landscape-router

clean: ## Remove what was built
	cargo clean
