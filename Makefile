# `make help` lists what there is. Everything is installed below this directory: .venv for Holdfast
# and its tools, .venv-clients for the clients of others that the compatibility tests drive,
# .venv-peers for what the benchmarks measure beside it.

PYTHON ?= python3.11
PART ?= baremetal
SEEDS ?= 1000
CHAOS_S ?= 7200
PYTEST_ARGS ?=
# The simulator takes both cores by itself; what runs real processes mostly waits for them.
SIMULATED := tests/sim
PROCESSES := tests/serving tests/client tests/e2e tests/compat tests/chaos
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile

BIN := .venv/bin
STAMP := .stamp
RUN := .venv/$(STAMP)-run
DEV := .venv/$(STAMP)-dev
CLIENTS := .venv-clients/$(STAMP)
PROGRAMS := .venv/$(STAMP)-programs
IRONIC := .venv-peers/ironic/$(STAMP)
SERVING_PEERS := $(foreach peer,mlserver bentoml litserve,.venv-peers/$(peer)/$(STAMP))
HEAT := .venv-peers/heat/$(STAMP)
PIP := -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help up demo test compat lint chaos sim bench clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

up: $(RUN) ## run the whole system on this machine until Ctrl-C (ARGS="--conductors 3")
	@exec $(BIN)/holdfast up $(ARGS)

demo: $(RUN) ## fifty machines deploy while a conductor is killed: watch, in under two minutes
	@exec $(BIN)/holdfast demo $(ARGS)

test: lint $(CLIENTS) $(PROGRAMS) ## lint, then every test within the time budget of CI
	PYTHONHASHSEED=0 $(BIN)/pytest $(SIDE_BY_SIDE) $(SIMULATED:%=--ignore %) $(PROCESSES:%=--ignore %) $(PYTEST_ARGS)
	$(BIN)/pytest $(SIMULATED) $(PYTEST_ARGS)
	PYTHONHASHSEED=0 $(BIN)/pytest $(SIDE_BY_SIDE) --no-loadscope-reorder $(PROCESSES) $(PYTEST_ARGS)

compat: $(DEV) $(CLIENTS) $(PROGRAMS) ## unmodified clients of others against Holdfast (PART=baremetal)
	HOLDFAST_COMPAT_DOC=1 $(BIN)/pytest tests/compat/$(PART) $(PYTEST_ARGS)

lint: $(DEV) ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

chaos: $(DEV) $(PROGRAMS) ## kill, pause and partition real processes for CHAOS_S seconds (7200)
	HOLDFAST_TEST_CHAOS_S=$(CHAOS_S) $(BIN)/pytest tests/chaos tests/e2e/test_stacks.py -s $(PYTEST_ARGS)

sim: $(DEV) ## simulate the core under faults with SEEDS seeds (1000)
	HOLDFAST_TEST_SIM_SEEDS=$(SEEDS) HOLDFAST_TEST_STACK_SEEDS=$(SEEDS) \
		$(BIN)/pytest tests/sim tests/stacks/test_random_stacks.py $(PYTEST_ARGS)

bench: $(DEV) $(IRONIC) $(HEAT) $(SERVING_PEERS) ## measure, and write what was measured to benchmarks/results/
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove the environments and all caches (no data)
	rm -rf .venv .venv-clients .venv-peers .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# ---- what the above needs; each is remembered by a stamp, so that a second run starts at once ----

$(BIN)/python:
	@PYTHON=$(PYTHON) tools/python-venv.sh .venv

.venv-clients/bin/python:
	@PYTHON=$(PYTHON) tools/python-venv.sh .venv-clients

$(RUN): pyproject.toml | $(BIN)/python
	@echo "installing holdfast into .venv"
	@$(BIN)/python $(PIP) install --editable '.[embedded]'
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "installing holdfast and its development tools into .venv"
	@$(BIN)/python $(PIP) install --editable '.[embedded,serving,test,lint]'
	@touch $@ $(RUN)

$(CLIENTS): tests/requirements-clients.txt | .venv-clients/bin/python
	@echo "installing the clients of others into .venv-clients"
	@.venv-clients/bin/python $(PIP) install --requirement tests/requirements-clients.txt
	@touch $@

.venv-peers/ironic/bin/python:
	@mkdir -p .venv-peers
	@PYTHON=$(PYTHON) tools/python-venv.sh .venv-peers/ironic

$(IRONIC): benchmarks/peers/requirements-ironic.txt | .venv-peers/ironic/bin/python
	@echo "installing Ironic, to measure beside, into .venv-peers/ironic"
	@.venv-peers/ironic/bin/python $(PIP) install --requirement $<
	@touch $@

.venv-peers/heat/bin/python:
	@mkdir -p .venv-peers
	@PYTHON=$(PYTHON) tools/python-venv.sh .venv-peers/heat

$(HEAT): benchmarks/peers/requirements-heat.txt | .venv-peers/heat/bin/python
	@tools/apt.sh rabbitmq-server=rabbitmq-server
	@echo "installing Heat, to measure beside, into .venv-peers/heat"
	@.venv-peers/heat/bin/python $(PIP) install --requirement $<
	@touch $@

# One that cannot be installed is left out, and the benchmark says so.
$(SERVING_PEERS): .venv-peers/%/$(STAMP): benchmarks/peers/requirements-%.txt
	@mkdir -p .venv-peers
	@PYTHON=$(PYTHON) tools/python-venv.sh .venv-peers/$*
	@echo "installing $*, to measure beside, into .venv-peers/$*"
	@.venv-peers/$*/bin/python $(PIP) install --requirement $< || echo "$* cannot be installed here" >&2
	@touch $@

$(PROGRAMS): tools/apt.sh | $(BIN)/python
	@tools/apt.sh haproxy=haproxy ip=iproute2 apache2=apache2 libapache2-mod-wsgi-py3 nft=nftables faketime \
		rabbitmq-server=rabbitmq-server
	@touch $@
