# make run   the whole path on the embedded consultation      make test   everything that is checked
# make ui    Dagster and MLflow                                make bench  benchmarks, each a ratio
# make docs  the documentation, into site/                     make chaos  kills at random, and what was lost
# make serve  the portal, in which people vote and moderators decide, on a copy of the embedded consultation
# make replication CLONE=FOLDER [TEXTS=FILE]   the consultation of the paper, from a clone of its repository
# make week  a week of changes and deaths, held against the rules     make day  a day in browsers, from votes to ratings
# make servers   a real llama.cpp server (SERVERS=--vllm: vLLM too) held against the same model in process
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
CCAI_HOME ?= $(CURDIR)/.ccai
export CCAI_HOME
export DAGSTER_DISABLE_TELEMETRY := true
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

.PHONY: setup run replication test lint browser ui serve chaos week day servers bench docs clean

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

run: setup
	$(VENV)/bin/ccai run

replication: setup
	$(if $(CLONE),,$(error CLONE=FOLDER must name a clone of https://github.com/saffronh/ccai))
	$(VENV)/bin/ccai new --from-ccai "$(CLONE)" $(if $(TEXTS),--texts "$(TEXTS)") ccai_2023
	$(VENV)/bin/ccai run ccai_2023 --select "+key:replication_report"

# A file of tests at a time (what imports torch as one), the longest first; three workers, since many tests wait for a
# server, a signal or a child process, and two would leave cores idle. The children must not compile every module again.
test: export PYTHONDONTWRITEBYTECODE :=
test: lint browser
	$(VENV)/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder

browser: setup
	tests/browser/install.sh

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

ui: setup
	$(VENV)/bin/ccai ui

TRIAL := $(CCAI_HOME)/consultations/brackwater
serve: setup
	test -d "$(TRIAL)" || $(VENV)/bin/ccai new --for-portal "$(TRIAL)"
	$(VENV)/bin/ccai serve "$(TRIAL)"

chaos: setup
	$(VENV)/bin/python -W ignore tests/chaos.py --kills 150 --daemon 50 --decisions 30

week: setup
	PYTHONPATH=$(CURDIR) $(VENV)/bin/python -W ignore tests/week.py

day: setup browser
	PYTHONPATH=$(CURDIR) $(VENV)/bin/python -W ignore tests/day.py

servers: setup
	PYTHONPATH=$(CURDIR) $(VENV)/bin/python -W ignore tests/servers.py $(SERVERS)

bench: setup
	$(VENV)/bin/python -m bench

docs: $(VENV)/documented
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/zensical build --clean --strict

$(VENV)/documented: $(VENV)/installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache site docs/generated
