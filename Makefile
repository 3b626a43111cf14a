# make test     everything that must hold, long walks sampled (what .ci/run calls)
# make soak     the same with every walk in full
# make lint     style, types, and who may import whom
# make bench    speed and memory beside tar, unzip, cp and "aws s3 cp"; BENCH="--help" lists its options
# make demo     a service, an agent and "aws deploy" on this machine: two versions, and a third that is rolled back
# make format   lets ruff mend what it can
# make readme   writes the programs' help texts into README.md anew
# make clean    removes what the targets above have made in this folder
SHELL := /bin/sh
# The two environments are set up side by side; several goals, such as "clean test", are meant in their order.
ifeq ($(words $(MAKECMDGOALS)),1)
MAKEFLAGS += --jobs=2
endif
.DEFAULT_GOAL := help

# The system's Python where it is new enough, else the newest that is found.
PYTHON ?= $(shell for p in /usr/bin/python3 python3.11 python3.12 python3.13 python3.14 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The AWS CLI pins one botocore, so it has an environment of its own.
AWS_VENV := .venv-aws
AWS_STAMP := $(AWS_VENV)/.installed
# One more than processors, because tests of hosts and time limits mostly wait.
JOBS ?= $(shell echo $$(( $$(nproc) + 1 )))
PYTEST_ARGS ?=
BENCH ?=

.PHONY: help setup system compiled test soak lint format readme bench demo clean

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(STAMP) $(AWS_STAMP)

system:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or later was found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@PYTHON="$(PYTHON)" .ci/system-packages

# Made anew only when the dependencies may have changed. compat: the sources are found through a plain path entry,
# without an import hook that would slow every start.
$(STAMP): pyproject.toml | system
	@$(BIN)/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "installing the project and its test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--config-settings editable_mode=compat --editable '.[test,sandbox]'
	@touch $@

$(AWS_STAMP): | system
	@$(AWS_VENV)/bin/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear $(AWS_VENV)
	@echo "installing the AWS CLI into $(AWS_VENV)"
	@$(AWS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'awscli>=1.44'
	@touch $@

# As installing does it: tests and benches start thousands of processes, and each would compile the sources for itself.
compiled: $(STAMP)
	@$(BIN)/python -m compileall -q agent

test: system $(STAMP) $(AWS_STAMP) compiled
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

soak: system $(STAMP) $(AWS_STAMP) compiled
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --soak $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

readme: $(STAMP)
	$(BIN)/python tests/helpers/readme_help.py

bench: system $(STAMP) $(AWS_STAMP) compiled
	$(BIN)/python tests/bench/bench.py $(BENCH)
	$(BIN)/python tests/bench/daemon.py
	$(BIN)/python tests/bench/download.py
	$(BIN)/python tests/bench/boot.py --where-possible

demo: $(STAMP) $(AWS_STAMP)
	@appspec-examples/demo $(BIN)

clean:
	rm -rf $(VENV) $(AWS_VENV) build *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find agent tests -name __pycache__ -type d -prune -exec rm -rf {} +
