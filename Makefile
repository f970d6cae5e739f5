# Two commands: `make demo` shows the main job, `make test` checks everything. Both install what they need.

CARGO ?= cargo
export CASEMATE_VECTORS ?= $(abspath ../shared/vectors)
export CASEMATE_IMAGE ?= $(abspath target/image)
export CASEMATE_BOOT_FILES ?= $(abspath target/boot-files)

.PHONY: help demo test guest-files check fast-test bench

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

# What guests boot from: the image under test, and bare files for the tests of the simulated TEE.
guest-files: target/boot-files/vmlinuz
	target/debug/casemate-image-build --output target/image --advisory

target/boot-files/vmlinuz:
	host/simtee/tests/fetch-boot-files.sh target/boot-files

check: ## formatting and lints only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fast-test: ## everything that boots no guest
	$(CARGO) nextest run --workspace -E 'not (package(casemate-tests) and not binary(house)) and not binary(boot) and not binary(vm) and not binary(reproducible)'

bench: ## measure, side by side with what a user would pick instead
	$(CARGO) bench --package casemate-bench
