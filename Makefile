# make demo         a service, an agent and "aws deploy" on this machine: two versions, and a third that is rolled back
# make test         everything essential, side by side; long walks are sampled
# make test-hosts   hosts that boot with systemd, and the longer walks (as root on Debian)
# make soak         all tests, each walk in full, and fresh machines
# make check        style, types and one room's tests: make check ROOM=install
# make lint         style, types, and who may import whom
# make bench        speed and memory beside tar, unzip, cp and "aws s3 cp"; BENCH="--help" lists its options
# make format       lets ruff fix what it can
# make commands     writes the programs' help texts into docs/commands.md again
# make lock         takes the newest libraries that the agent may have into userdata/agent.lock
# make picture      runs the demo and draws what it printed: docs/demo.svg
# make demo-setup   only what the examples and the demo need: the agent, its sandbox and the AWS CLI
# make setup        only what the tests need
# make clean        removes what the targets above have made in this directory
SHELL := /bin/sh
# Environments are set up side by side; several goals, such as "clean test", are meant in their order.
ifeq ($(words $(MAKECMDGOALS)),1)
MAKEFLAGS += --jobs=2
endif
.DEFAULT_GOAL := help

# The system's Python where it is new enough, else the newest that is found.
PYTHON ?= $(shell for p in /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
export PYTHON
# What pytest and Python compile is kept for the next run, whatever the user's shell says.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
DEMO_VENV := .venv-demo
# The AWS CLI pins one botocore, so it has an environment of its own.
AWS_VENV := .venv-aws
# Where structlog finds rich, it imports it into every process of the agent. So rich is kept apart.
PICTURE_VENV := .venv-picture
# Twice as many as processors, because many tests wait for something half of their time.
JOBS ?= $(shell echo $$(( $$(nproc) * 2 )))
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal
LINT = $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports
PYTEST_ARGS ?=
BENCH ?=
ROOM ?=

# compat: the sources are found through a plain path entry, without an import hook that would slow every start.
EDITABLE := --config-settings editable_mode=compat --editable

.PHONY: help setup demo-setup python packages environment demo-environment aws compiled \
	test test-hosts soak room check lint format commands bench lock demo picture clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: environment aws
demo-setup: demo-environment aws

python:
	@"$(PYTHON)" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null | grep -qx True || \
		{ echo "$(or $(PYTHON),This machine) has no Python 3.11 or later. Install one, or name it: make PYTHON=/path/to/python3 …" >&2; exit 1; }
	@.ci/system-packages venv

packages: python
	@.ci/system-packages test

environment: packages
	@.ci/environment $(VENV) "the project and its test tools" $(EDITABLE) '.[test,sandbox]'

demo-environment: python
	@.ci/environment $(DEMO_VENV) "the agent and its sandbox" $(EDITABLE) '.[sandbox]'

aws: python
	@.ci/environment $(AWS_VENV) "the AWS CLI" 'awscli>=1.44'

# As installing does it: tests and benches start thousands of processes, and each would compile the sources for itself.
# Collecting the tests once has pytest compile them, which each of the test processes would do otherwise.
compiled: environment
	@$(BIN)/python -m compileall -q agent
	@test -d tests/__pycache__ || $(BIN)/python -m pytest --collect-only -q >/dev/null

test: setup compiled
	$(PYTEST) $(PYTEST_ARGS)

test-hosts: setup compiled
	@.ci/system-packages hosts
	$(PYTEST) --part hosts $(PYTEST_ARGS)

soak: setup compiled
	@.ci/system-packages hosts
	$(PYTEST) --soak $(PYTEST_ARGS)
	$(BIN)/python .ci/fresh-machine

room:
	@test -n "$(ROOM)" && test -d "tests/$(ROOM)" || { echo "$(if $(ROOM),There is no room '$(ROOM)'. )Name a room: make check ROOM=install" \
		"(also: $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard tests/*/test_*.py))))))" >&2; exit 1; }

check: room environment compiled
	@start=$$(date +%s); set -x; $(LINT) && $(PYTEST) tests/$(ROOM) $(PYTEST_ARGS); status=$$?; set +x; \
		echo "make check ROOM=$(ROOM): $$(( $$(date +%s) - start )) s"; exit $$status

lint: environment
	$(LINT)

format: environment
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

commands: environment
	$(BIN)/python tests/helpers/command_help.py

bench: setup compiled
	$(BIN)/python tests/bench/bench.py $(BENCH)
	$(BIN)/python tests/bench/commands.py
	$(BIN)/python tests/bench/daemon.py
	$(BIN)/python tests/bench/fleet.py
	$(BIN)/python tests/bench/download.py
	$(BIN)/python tests/bench/boot.py --where-possible

# Universal: one file for every Python and processor, so the newest version that all of them can have.
LOCK = .venv-lock/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --upgrade \
	--custom-compile-command "make lock" --no-emit-index-url --no-emit-find-links

lock: python
	@.ci/environment .venv-lock "uv" 'uv>=0.5'
	echo pip | $(LOCK) pyproject.toml - --output-file userdata/agent.lock
	"$(PYTHON)" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
		$(LOCK) - --output-file userdata/build.lock

demo: demo-setup
	@appspec-examples/demo $(DEMO_VENV)/bin

picture: demo-setup
	@.ci/environment $(PICTURE_VENV) "what draws the picture" 'rich>=13'
	$(PICTURE_VENV)/bin/python .ci/demo-picture

clean:
	rm -rf $(VENV) $(DEMO_VENV) $(AWS_VENV) $(PICTURE_VENV) .venv-lock build dist *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find agent tests -name __pycache__ -type d -prune -exec rm -rf {} +
