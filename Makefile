# The door to Encore. It needs Python 3.11 or newer with pip and venv, and brings the rest into .tools and .venv.
#   make up ARGS="--rate 50"      flags for `encore up`
#   make PYTHON=python3.12 up     another Python

PYTHON ?= python3
ARGS ?=

# A uv on the PATH that is new enough for the lock file, else one of our own.
UV := $(shell uv --version 2>/dev/null | awk '{ split($$2, v, "."); if (v[1] > 0 || v[2] >= 8) print "uv" }')
UV := $(or $(UV),.tools/bin/uv)
INSTALLED := .venv/.installed
# Spark is large (450 MB) and needs Java: only its tests install it.
WITH_SPARK := .venv/.installed-spark
# What builds the site: 90 MB that nothing else needs.
WITH_DOCS := .venv/.installed-docs


# One line says what is wrong with the Python there is.
define check-python
@command -v $(PYTHON) >/dev/null || { echo "Encore: no $(PYTHON) here; name yours: make PYTHON=python3.12 ..."; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Encore: $$($(PYTHON) -V 2>&1) is too old, 3.11 is needed; name another: make PYTHON=python3.12 ..."; exit 1; }
endef

# Where Python may not keep what it has compiled, every command takes two seconds more to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up install spark test-unit test test-all test-slow test-pages test-containers test-kubernetes chart cloud prometheus lint format clean bench chaos docs ci

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

up: $(INSTALLED) ## start everything and show one live view; Ctrl-C stops it, its state stays
	@.venv/bin/encore up $(ARGS)

install: $(INSTALLED) ## install what is needed into the project, once

spark: $(WITH_SPARK) ## install Spark as well (450 MB; it needs Java 17)

# Pytest's workers, on two cores: unit tests compute, others wait half of the time for a broker or store, of which each
# worker starts its own (200 MB).
PYTEST := .venv/bin/pytest
WORKERS ?= 3

# Of Hypothesis' examples `make test` and `make test-unit` look at two fifths, `make test-all` at every one.
ifeq ($(origin THOROUGH),undefined)
THOROUGH := 0.4
test-slow: THOROUGH := 1
test-all: THOROUGH := 1
endif
export THOROUGH

test-unit: $(INSTALLED) ## the tests that need nothing but Python
	$(PYTEST) -n 2 -m unit $(ARGS)

test: $(INSTALLED) ## these, and those over a broker and a store; COVERAGE=1 adds the long ones, and shows what they cover
	$(PYTEST) -n $(WORKERS) -m "$(MARKS)" $(COVER) $(ARGS)

test-slow: $(WITH_SPARK) ## the slow ones alone
	$(PYTEST) -n $(WORKERS) -m slow $(ARGS)

test-all: export FUZZ_S := 60
test-all: test test-slow test-containers ## all of these; fuzzing takes a minute for each kind of bytes

test-pages: $(INSTALLED) ## every command of the documents, typed page by page: 10 minutes
	$(PYTEST) -n 0 -v -m pages tests/e2e/test_pages_typed.py $(ARGS)

test-containers: $(INSTALLED) ## docker-compose.yml in a container engine: 10 minutes; it needs root and Debian 12
	.venv/bin/pytest -n 0 -s -v -m containers tests/e2e/test_containers.py $(ARGS)

test-kubernetes: $(INSTALLED) .tools/bin/helm .tools/bin/kube-apiserver .tools/bin/etcd ## the chart before a real API server, which Go builds first: 10 minutes, once
	.venv/bin/pytest -n 0 -s -v tests/e2e/test_kubernetes.py $(ARGS)

chart: $(INSTALLED) $(if $(shell command -v helm),,.tools/bin/helm) ## the Helm chart, linted and rendered; helm is built by Go where it is missing
	.venv/bin/pytest -n 0 tests/test_server/test_chart.py $(ARGS)

cloud: $(INSTALLED) .tools/bin/hclfmt ## the examples of clouds in deploy/tofu: their form, and what they tell the chart
	.venv/bin/pytest -n 0 tests/test_server/test_tofu.py $(ARGS)

prometheus: .tools/bin/promtool ## Prometheus from Debian's package, for the tests of the alert rules; nothing is installed

# Measuring doubles the time. `test` with the long ones shows it, without the other slow ones: 92 % when this was written.
test: MARKS := not slow
ifdef COVERAGE
test: MARKS := not slow or long
test: COVER := --cov --cov-report=term
endif

lint: $(INSTALLED) ## style, format, spelling and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/typos
	.venv/bin/mypy

format: $(INSTALLED) ## mend style and format
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

clean: $(INSTALLED) ## forget all state: history, log, store, models
	@.venv/bin/encore clean $(ARGS)

# Without bench-months, which is about a file that the project does not have.
BENCHMARKS := $(filter-out bench-months,$(patsubst benchmarks/bench_%.py,bench-%,$(wildcard benchmarks/bench_*.py)))

bench: $(BENCHMARKS) ## all benchmarks

bench-%: benchmarks/bench_%.py $(INSTALLED) ## one benchmark: bench-generate is benchmarks/bench_generate.py
	.venv/bin/python $< $(ARGS)

chaos: $(INSTALLED) ## ten minutes of faults, then every feature compared: ARGS="--seed 7 --topology cluster"
	@PYTHONPATH=benchmarks .venv/bin/python -m chaos $(ARGS)

docs: $(WITH_DOCS) ## the site of the documents, in .site/site; a link that leads nowhere is an error
	@PYTHONPATH=docs .venv/bin/python -W ignore -m pages $(ARGS)

ci: ## what a change must pass: lint, types, tests
	bash .ci/run

$(INSTALLED): pyproject.toml uv.lock | $(filter .tools/%,$(UV))
	$(check-python)
	$(UV) sync --frozen --all-extras --no-extra spark --python $(PYTHON)
	@touch $@

$(WITH_SPARK): $(INSTALLED)
	$(UV) sync --frozen --inexact --all-extras --python $(PYTHON)
	@touch $@

$(WITH_DOCS): $(INSTALLED)
	$(UV) sync --frozen --inexact --only-group docs --python $(PYTHON)
	@touch $@

.tools/bin/uv:
	$(check-python)
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Encore: $(PYTHON) has no venv; install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv .tools
	.tools/bin/pip install --quiet uv

.tools/bin/helm:
	GOBIN=$(CURDIR)/.tools/bin go install helm.sh/helm/v3/cmd/helm@v3.22.0

.tools/bin/hclfmt:
	GOBIN=$(CURDIR)/.tools/bin go install github.com/hashicorp/hcl/v2/cmd/hclfmt@v2.24.0

.tools/bin/promtool:
	mkdir -p .tools/bin .tools/prometheus
	cd .tools/prometheus && apt-get download prometheus && dpkg -x prometheus_*.deb . && rm prometheus_*.deb
	ln -sf ../prometheus/usr/bin/prometheus ../prometheus/usr/bin/promtool .tools/bin/

# Kubernetes' repository replaces its modules by folders; outside of it they are taken by their own versions.
KUBERNETES := 33.5
.tools/bin/kube-apiserver:
	mkdir -p .tools/bin .tools/kubernetes
	cd .tools/kubernetes && go mod download k8s.io/kubernetes@v1.$(KUBERNETES) && { \
		printf 'module apiserver\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v1.$(KUBERNETES)\n\n'; \
		sed -n 's|^\t\(k8s.io/[^ ]*\) v0.0.0$$|replace \1 => \1 v0.$(KUBERNETES)|p' \
			"$$(go env GOMODCACHE)/cache/download/k8s.io/kubernetes/@v/v1.$(KUBERNETES).mod"; } >go.mod
	cd .tools/kubernetes && go build -mod=mod -ldflags="-s -X k8s.io/component-base/version.gitVersion=v1.$(KUBERNETES)" -o ../bin/kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver

.tools/bin/etcd:
	mkdir -p .tools/bin .tools/etcd
	cd .tools/etcd && apt-get download etcd-server && dpkg -x etcd-server_*.deb . && rm etcd-server_*.deb
	ln -sf ../etcd/usr/bin/etcd .tools/bin/
