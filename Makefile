# Everything that Holdfast can do from its tree. `make help` lists the targets.
SHELL := /bin/bash
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast
export CARGO_TARGET_DIR ?= $(CACHE)/target
export CARGO_HOME := $(if $(wildcard $(HOME)/.cargo),$(HOME)/.cargo,$(CACHE)/cargo)
export HOLDFAST_BIN ?= $(CACHE)/bin
UNIT := --lib --bins
PURE := -p holdfast-api -p holdfast-core -p holdfast-store

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.PHONY: demo
demo: cluster ## From nothing to a restored PostgreSQL, step by step, on the local cluster
	@deploy/demo/run.sh

.PHONY: test
test: check integration e2e ## Every test: check, integration, end to end

.PHONY: check
check: fmt-check lint generated unit chart ## Lints, generated files, unit and property tests; no cluster

.PHONY: fmt
fmt: ## Format the sources
	cargo fmt --all

.PHONY: fmt-check
fmt-check:
	cargo fmt --all --check

.PHONY: lint
lint:
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	deploy/ci/deny.sh

.PHONY: generated
generated:
	cargo xtask check-generated
	cargo xtask check-deps
	cargo xtask check-files
	cargo xtask check-lists
	cargo xtask check-circles

.PHONY: unit
unit:
	cargo test --workspace --exclude holdfast-e2e $(UNIT) --quiet
	cargo test $(PURE) --test '*' --quiet

.PHONY: chart
chart:
	deploy/cluster/tools.sh helm
	deploy/ci/chart.sh

# They mostly wait, so two halves of about the same length run side by side: by the first letter of their names.
INTEGRATION := --workspace --exclude holdfast-e2e --exclude holdfast-api --exclude holdfast-core --exclude holdfast-store

.PHONY: integration
integration: tools ## Tests against a real API server, a real NATS and the real CSI checks
	cargo test $(INTEGRATION) --test '*' --no-run
	$(MAKE) --output-sync=target -j2 integration-one integration-other

.PHONY: integration-one integration-other
integration-one:
	cargo test $(INTEGRATION) --test '[!rs]*'
integration-other:
	cargo test $(INTEGRATION) --test '[rs]*'

SOAK_ROUNDS := 1000
SOAK_RUNS := 400

.PHONY: soak
soak: ## What repeats: many histories of the model, a thousand rounds of agents on fresh volumes
	HOLDFAST_MODEL_RUNS=$(SOAK_RUNS) cargo test -p holdfast-core --test model
	HOLDFAST_SOAK_ROUNDS=$(SOAK_ROUNDS) cargo test -p holdfast-agent --test together -- --nocapture

.PHONY: e2e
e2e: cluster ## Tests on the local cluster, with real databases
	deploy/install.sh --set notReadyTimeoutSeconds=60
	. deploy/cluster/env.sh && cargo test -p holdfast-e2e --test path -- --test-threads=$(or $(E2E_THREADS),4)
	. deploy/cluster/env.sh && cargo test -p holdfast-e2e --test alone -- --test-threads=1
	deploy/ci/killed-cluster.sh

.PHONY: cluster
cluster: ## Bring up the local cluster (one real node); idempotent
	@deploy/cluster/up.sh

.PHONY: cluster-down
cluster-down: ## Remove the local cluster and all that it left
	@deploy/cluster/down.sh

.PHONY: images
images: ## Build the images and give them to the local cluster
	@deploy/images/ours.sh --load
	@deploy/images/postgres.sh --load

.PHONY: install
install: cluster ## Install this tree's Holdfast on the local cluster
	@deploy/install.sh

.PHONY: uninstall
uninstall: ## Remove Holdfast from the local cluster; Backups and data stay
	@. deploy/cluster/env.sh && helm uninstall holdfast --namespace holdfast-system --wait

.PHONY: tools
tools: ## Build what the cluster and the tests run (once per version)
	@deploy/cluster/packages.sh
	@deploy/cluster/tools.sh

.PHONY: crds
crds: ## Write the generated files (CRDs, documents)
	cargo xtask crd
	cargo xtask docs
