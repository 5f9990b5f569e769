# The same few targets for people and for CI. Everything goes into .venv; nothing outside this folder is changed.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help install run cluster test lint e2e bench bench-quick faults schedules conformance cycles readiness build lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

install: python ## what `make run` needs, in .venv: packages, the local model, the pages
	@$(PYTHON) tools/prepare.py run
	@echo "Ready. Next: make run"

run: python ## start Chatbox on this machine and print the link to open; ARGS="--port 9000" and the like
	@$(PYTHON) tools/prepare.py run
	@LD_LIBRARY_PATH=$(CURDIR)/.venv/lib/openmp$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH} exec $(VENV)/chatbox serve --dev $(ARGS)

cluster: dev ## three replicas, Redis, a MongoDB peer and HAProxy on this machine; MODEL=local ARGS="--port 9000"
	@tools/system-packages
	@LD_LIBRARY_PATH=$(CURDIR)/.venv/lib/openmp$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH} exec $(VENV)/python tools/cluster.py $(if $(MODEL),--model $(MODEL)) $(ARGS)

test: python ## everything that has to hold: style, types, tests with coverage, browser tests, readiness table
	@tools/system-packages
	@$(PYTHON) tools/prepare.py dev
	@$(VENV)/python tools/check.py

lint: dev ## style and types only
	@$(VENV)/python tools/check.py lint

e2e: dev ## the browser tests only; needs Chromium
	@tools/system-packages
	$(PYTEST) -m browser

readiness: dev ## the tests of the numbered readiness issues, and their table
	@$(VENV)/python tools/check.py readiness

bench: dev ## the loads and ratios of bench/, on an otherwise idle machine; ARGS="--keep" publishes them
	$(VENV)/python -m bench $(ARGS)

bench-quick: dev ## a short run of each load; judges no time
	$(VENV)/python -m bench --quick

faults: dev ## processes, disks, lines and stores that fail while people talk; SEED=7, ARGS="--only kills", ARGS=--keep
	@tools/system-packages
	$(PYTEST) -q tests/faults/test_checker.py $(wildcard tests/*/test_faults.py tests/*/test_durability.py)
	PYTHONPATH=tools $(VENV)/python -m tests.faults $(if $(SEED),--seed $(SEED)) $(ARGS)

schedules: dev ## ten thousand interleavings of two replicas, and every planted defect; ARGS="--keep" publishes the table
	$(PYTEST) -q tests/schedules/test_races.py
	$(VENV)/python -m tests.schedules $(ARGS)

conformance: dev ## the WebSocket cases of the Autobahn test suite
	$(PYTEST) tests/conformance

cycles: dev ## sockets that come and break off, 20,000 of them or COUNT=…, leave nothing behind
	CHATBOX_TEST_CYCLES=$(or $(COUNT),20000) $(PYTEST) tests/test_cycles.py -k nothing

build: dev ## the sdist and the wheel, in dist/
	$(VENV)/python -m build --installer uv

lock: dev ## renew the lock files from pyproject.toml; UPGRADE=1 takes newer versions
	@tools/lock $(if $(UPGRADE),--upgrade)

clean: ## remove all that was installed or built here; data/ stays
	rm -rf .venv dist htmlcov test-results web/node_modules web/dist src/chatbox/pages
	rm -rf .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .detangle
	find src tests tools bench -name __pycache__ -prune -exec rm -rf {} +

.PHONY: python dev
python:
	@test -n "$(PYTHON)" || { echo "Chatbox needs Python 3.11 or newer. Debian 12: apt-get install python3 python3-venv" >&2; exit 1; }

dev: python
	@$(PYTHON) tools/prepare.py dev
