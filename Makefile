# Two commands: `make demo` shows the main job, `make test` checks everything. Both install what they need.

CARGO ?= cargo
export CASEMATE_VECTORS ?= $(abspath ../shared/vectors)

.PHONY: help demo test check fast-test bench

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
	$(CARGO) nextest run --workspace
	$(CARGO) test --workspace --doc

check: ## formatting and lints only
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fast-test: ## everything that boots no guest
	$(CARGO) nextest run --workspace -E 'not test(guest)'
