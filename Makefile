# Two commands: `make demo` shows the main job, `make test` checks everything. Both install what they need.

CARGO ?= cargo
export CASEMATE_VECTORS ?= $(abspath ../shared/vectors)
export CASEMATE_IMAGE ?= $(abspath target/image)
export CASEMATE_BOOT_FILES ?= $(abspath target/boot-files)

.PHONY: help demo test guest-files web client-tests check fast-test bench bench-guests fuzz

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

demo: ## install, build, run examples/notes in an attested guest, show four refusals
	@scripts/install-packages demo
	@scripts/demo

test: ## install, build, and run every test, guests included
	@scripts/install-packages test
	@command -v cargo-nextest >/dev/null || $(CARGO) install --locked cargo-nextest
	$(CARGO) fmt --all --check
	$(CARGO) build --workspace --all-targets
	@$(MAKE) --no-print-directory guest-files
	CASEMATE_ACCEL=tcg $(CARGO) nextest run --workspace
	$(CARGO) test --workspace --doc
	@$(MAKE) --no-print-directory client-tests

# What guests boot from: the image under test, and bare files for the tests of the simulated TEE.
guest-files: target/boot-files/vmlinuz
	target/debug/casemate-image-build --output target/image --advisory

target/boot-files/vmlinuz:
	host/simtee/tests/fetch-boot-files.sh target/boot-files

web: ## build the verifier for browsers and JavaScript: target/web/index.html, client/js/casemate.wasm
	scripts/build-wasm
	node client/web/build.mjs

# The same vectors in Node, in Chromium and in Python; their replies are compared with the native ones.
client-tests: web
	$(CARGO) build --workspace --examples
	node --test client/js/test/*.test.mjs client/web/test/*.test.mjs
	$(CARGO) test --package casemate-bench --test comparisons -- --ignored
	scripts/test-python

check: ## formatting and lints only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fast-test: ## everything that boots no guest
	$(CARGO) nextest run --workspace -E 'not binary(boot) and not binary(tpm_guest) and not binary(vm) and not binary(reproducible) and not (package(casemate-tests) and test(/^guest/))'

# Boots run the programs that `make demo` runs; what is measured by itself is optimised as a release is.
# BENCH takes arguments: `make bench BENCH='verify --json'`, `make bench BENCH='--rounds 3'`.
BENCH_ASKED = $(or $(filter verify browser release boot,$(BENCH)),all)
BENCH_WEB = $(filter browser all,$(BENCH_ASKED))
BENCH_GUESTS = $(filter release boot all,$(BENCH_ASKED))
BENCH_FLAGS = --quiet --package casemate-bench --package casemate-kms --features casemate-bench/dcap-qvl
bench: ## measure, side by side with what a user would have instead
	@scripts/install-packages $(if $(BENCH_WEB),test,demo)
	@$(if $(BENCH_WEB),$(MAKE) --no-print-directory web)
	@$(if $(BENCH_GUESTS),$(MAKE) --no-print-directory bench-guests)
	@$(CARGO) build $(BENCH_FLAGS) --release --bins --benches
	@CASEMATE_ACCEL=tcg CASEMATE_LOG=error CASEMATE_PROGRAMS=$(abspath target/debug) \
	  $(CARGO) bench $(BENCH_FLAGS) --bench measure -- $(BENCH)

bench-guests:
	@$(CARGO) build --quiet --workspace --bins
	@target/debug/casemate-image-build --output target/image --advisory >/dev/null
	@test -d examples/hello/images || examples/hello/images.sh >/dev/null
	@bench/guest/fetch-busybox.sh target/bench/busybox

# FUZZ_SECONDS is for each target, FUZZ_TARGETS names some of them: `make fuzz FUZZ_TARGETS='bundle policy'`.
fuzz: ## run each fuzz target for a minute, beginning with recorded evidence; ask dcap-qvl about quotes
	@scripts/install-packages demo
	@$(CARGO) test --quiet --package casemate-fuzz --features dcap-qvl --test dcap_quotes --target-dir target/fuzz
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) scripts/fuzz $(FUZZ_TARGETS)
