# `make run` and `make test` need Rust and CPython 3.10 or newer; everything else they fetch and build themselves.
# What they build lies outside the checkout, in PODICORN_CACHE.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PODICORN_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
export PODICORN_CACHE
export CARGO_TARGET_DIR ?= $(PODICORN_CACHE)/podicorn-cargo-target
ifneq ($(filter-out help clean,$(MAKECMDGOALS)),)
OWN_TARGET := $(shell dev/own-target.sh '$(CARGO_TARGET_DIR)')
endif
# One environment for each checkout, so that two never install over each other.
VENV ?= $(PODICORN_CACHE)/podicorn-venv-$(shell printf %s '$(CURDIR)' | sha256sum | cut -c1-10)
BENCH_VENV ?= $(VENV)-bench
PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_DISABLE_PIP_VERSION_CHECK

PORT ?= 8000
ADMIN_PORT ?= 9099
WORKERS ?= 2
# Processes that run the black-box suites; they wait more than they compute.
JOBS ?= $(shell expr 3 '*' $$(nproc))
PYTEST ?= $(VENV)/bin/python -m pytest

.PHONY: help
help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: venv ## Build, serve the demo app and print what to try. PORT, ADMIN_PORT and WORKERS may be set.
	@printf '%s\n' '' \
	  'Podicorn serves examples/demo/demo.py. Try, in a browser or another terminal:' \
	  '' \
	  '  http://127.0.0.1:$(PORT)/                          the app: what is slow, what crashes' \
	  '  http://127.0.0.1:$(ADMIN_PORT)/                          the admin page' \
	  '  curl http://127.0.0.1:$(ADMIN_PORT)/readyz?verbose       the probes: also /livez, /startupz' \
	  '  curl http://127.0.0.1:$(ADMIN_PORT)/workers              the pool, each worker and its last requests' \
	  '  curl http://127.0.0.1:$(ADMIN_PORT)/metrics              for Prometheus' \
	  '  curl -X POST http://127.0.0.1:$(ADMIN_PORT)/scale/ttin   one worker more (ttou: one less)' \
	  '  curl -X POST http://127.0.0.1:$(ADMIN_PORT)/reload       new code without a lost request (or: kill -HUP)' \
	  '' 'Ctrl-C ends it.' ''
	@cd examples/demo && exec $(VENV)/bin/podicorn --bind 127.0.0.1:$(PORT) --admin-bind 127.0.0.1:$(ADMIN_PORT) \
	  --workers $(WORKERS) --access-logfile - demo

.PHONY: test
test: lint unit charts-short fuzz-short blackbox cluster-test ## Everything that CI runs.

.PHONY: lint
lint: venv-tests ## Formatting, clippy, documentation, licences, Python lint.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features podicorn-testbed/cluster --locked -- -D warnings
	cargo fmt --manifest-path server/http/fuzz/Cargo.toml --check
	cargo clippy --manifest-path server/http/fuzz/Cargo.toml --no-default-features --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --document-private-items --quiet
	dev/deny.sh
	$(VENV)/bin/ruff check tests examples
	$(VENV)/bin/ruff format --check tests examples
	cd server && $(VENV)/bin/ruff check python
	cd server && $(VENV)/bin/mypy

.PHONY: unit
unit: venv-tests ## Tests of the crates and of the Python package, without a running server.
	@# The same cases each time: what chance finds belongs in a run that somebody waits for (make properties).
	PROPTEST_RNG_SEED=9110 cargo test --workspace --locked --quiet
	cd server && $(PYTEST) --quiet

.PHONY: properties
properties: ## The property tests with new cases each time. ROUNDS=20 sets how often.
	@for round in $$(seq $(or $(ROUNDS),20)); do \
	  seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "PROPTEST_RNG_SEED=$$seed"; \
	  PROPTEST_RNG_SEED=$$seed cargo test --locked --quiet -p podicorn-policy -p podicorn-http -p podicorn-scoreboard \
	    -p podicorn-settings -p podicorn-arbiter || exit 1; \
	done

.PHONY: blackbox
blackbox: venv-tests ## The real server, from outside. ARGS='-k reload' chooses, JOBS=4 sets the processes.
	cd tests && $(PYTEST) --quiet --numprocesses $(JOBS) $(ARGS)

.PHONY: charts
charts: venv-tests ## The charts and deploy/: Helm 3 and 4, golden files, a real apiserver. ARGS='-k golden' chooses, UPDATE=1 writes.
	@dev/prepare.sh charts
	cd tests && UPDATE=$(UPDATE) $(PYTEST) --quiet --numprocesses 2 --dist loadfile charts $(ARGS)

.PHONY: charts-short
charts-short: venv-tests ## What of that needs no cluster: lint --strict, golden files, the map of settings, schemas. Part of `make test`.
	@dev/prepare.sh charts
	cd tests && $(PYTEST) --quiet --numprocesses 2 --dist loadfile charts/test_lint.py charts/test_golden.py \
	  charts/test_settings.py charts/test_schema.py charts/test_pods.py charts/test_readme.py $(ARGS)

.PHONY: images
images: venv-tests ## Build deploy/*.Dockerfile from debootstrapped bases and run them (root, 10 minutes). UPDATE=1 writes sizes to the docs.
	@dev/prepare.sh images
	cd tests && UPDATE=$(UPDATE) $(PYTEST) --quiet images $(ARGS)

.PHONY: node
node: venv-tests ## One real node: kubelet, containerd, the operator, Django under load (root; builds 15 minutes, then 6). ARGS='-k rolling'.
	@dev/prepare.sh node
	@dev/node-test.sh '$(VENV)' $(ARGS)

.PHONY: leak
leak: venv-tests ## A leaking app in a container of 256 MiB, for three minutes on each of three worker types.
	cd tests && PODTEST_LEAK_SECONDS=$(or $(LEAK_SECONDS),180) $(PYTEST) --quiet -k leaking_app blackbox/test_memory.py $(ARGS)

.PHONY: seeing-long
seeing-long: venv-tests ## Counters across 10,000 workers' deaths, and a collector that is away for a minute: 20 minutes. Short in `make test`.
	cd tests && PODTEST_RECYCLES=10000 PODTEST_AWAY=60 $(PYTEST) --quiet --timeout 3000 blackbox/test_metrics.py blackbox/test_traces.py \
	  -k 'counters_never_fall or away' $(ARGS)

.PHONY: cgroup-v2
cgroup-v2: venv-tests ## The tests of memory on cgroup v2, in an emulated machine (Debian, x86-64, root). K=together chooses.
	@dev/prepare.sh cgroup-v2
	dev/cgroup-v2.sh '$(VENV)' '$(K)'

.PHONY: fuzz
fuzz: ## Fuzz the HTTP crate. FUZZ_SECONDS (each, default 600) and FUZZ_TARGETS='request_head connection' choose.
	@dev/prepare.sh c++
	@dev/fuzz.sh run $(or $(FUZZ_SECONDS),600) $(FUZZ_TARGETS)

.PHONY: fuzz-short
fuzz-short: ## The same for 15 seconds each, with what earlier runs have learned.
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(or $(FUZZ_SECONDS),15)

.PHONY: oracle
oracle: venv-tests ## The black-box tests that compare, run against Gunicorn itself: do the tests tell the truth?
	cd tests && PODTEST_PROGRAM=gunicorn $(PYTEST) --quiet --numprocesses $(JOBS) -m parity $(ARGS)

.PHONY: parity
parity: venv-tests ## Gunicorn's own requests, put to both servers. UPDATE=1 writes the result to tests/parity/README.md.
	cd tests && PARITY_UPDATE=$(UPDATE) $(PYTEST) --quiet parity $(ARGS)

.PHONY: parity-pod
parity-pod: venv-tests ## What users of Gunicorn meet in pods, done to both servers; writes tests/parity/README.md. As root, 5 minutes.
	cd tests && $(VENV)/bin/python -B -m parity.pod $(ARGS)

.PHONY: drain
drain: venv-tests ## Ends servers of every type under 400 clients, 50 times each, and counts what is lost. ARGS='--times 5 sync' chooses.
	cd tests && $(VENV)/bin/python -B -m drain $(ARGS)

.PHONY: recycle
recycle: venv-tests ## 100,000 requests to workers that are replaced after 50 each, on every type. ARGS='--requests 20000 asgi' chooses.
	cd tests && $(VENV)/bin/python -B -m drain.recycle $(ARGS)

.PHONY: pythons
pythons: venv-tests ## Build and serve with every other CPython of this machine.
	cd tests && PODTEST_PYTHONS=1 $(PYTEST) --quiet blackbox/test_pythons.py

.PHONY: bench
bench: ## Podicorn beside its peers: speed, CPU, memory (tests/bench/README.md). ARGS=--quick takes 5 minutes.
	@dev/prepare.sh bench
	@dev/venv.sh '$(BENCH_VENV)' bench
	@cd tests && exec $(BENCH_VENV)/bin/python -B -m bench $(ARGS)

.PHONY: simulate
simulate: venv ## Scaling policies compared in virtual time; writes the result to docs/scaling.md and docs/scaling.svg.
	@dev/simulate.sh '$(VENV)/bin/podicorn'

.PHONY: scale-demo
scale-demo: venv-tests ## Five times the load at once on a real server: when has it been absorbed? SEED=2 for other traffic.
	@cd tests && exec $(VENV)/bin/python -B -m demo.scaling

.PHONY: demo
demo: venv-tests ## A shop under load, a collector of traces and a Prometheus beside it; prints where to look. SECONDS=60 ends it.
	@cd tests && exec $(VENV)/bin/python -B -m demo.tour

.PHONY: pictures
pictures: venv-tests ## The dashboard and `podicorn ctl top` under load: docs/dashboard.png, docs/ctl-top.svg. Two minutes.
	@cd tests && exec $(VENV)/bin/python -B -m demo.pictures

.PHONY: cluster
cluster: venv-tests ## A control plane, the operator and real pods on this machine: walks the tour. ARGS=--stay keeps it up.
	@dev/cluster-tour.sh '$(VENV)/bin/podicorn' $(ARGS)

.PHONY: cluster-assets
cluster-assets: ## etcd, kube-apiserver and kube-controller-manager for the cluster suites; built once, 15 minutes. Needs Go 1.26.
	@dev/cluster-assets.sh

.PHONY: cluster-test
cluster-test: venv-tests ## The operator against a real control plane, with real servers as pods. SUITE=crd and ARGS=name choose.
	@dev/cluster-test.sh '$(VENV)/bin/podicorn' '$(SUITE)' $(ARGS)

.PHONY: operator-scale
operator-scale: venv-tests ## 500 apps of 5 pods on this machine: prints what they cost the operator, and how a load step is taken.
	cargo build --release --quiet --locked --package podicorn-operator --bins
	@assets=$$(dev/cluster-assets.sh) && KUBEBUILDER_ASSETS=$$assets PODICORN_PROGRAM='$(VENV)/bin/podicorn' \
	  PODICORN_SCALE=$(or $(SCALE),500x5) \
	  cargo test --release --quiet --locked --package podicorn-testbed --features cluster --test scale

.PHONY: venv
venv: ## The environment with the server, built from this checkout.
	@dev/prepare.sh
	@dev/venv.sh '$(VENV)' server

.PHONY: venv-tests
venv-tests:
	@dev/prepare.sh tests
	@dev/venv.sh '$(VENV)' tests

.PHONY: clean
clean: ## Remove this checkout's environment and the build cache.
	rm -rf '$(VENV)' '$(VENV).lock' '$(BENCH_VENV)' '$(BENCH_VENV).lock' '$(CARGO_TARGET_DIR)' '$(PODICORN_CACHE)'/podicorn-go-build* server/build server/python/podicorn.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
