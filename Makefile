# The verbs of this project; `make help` lists them. Needs Python 3.11 to 3.13 and git, no root.
# With `uv` on the PATH it is used, otherwise venv and pip. Both compile what they install: workers may
# write no file, and would compile it again each time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint bench clean

help: ## list these verbs
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

run: $(READY) ## start the demo: publisher, agent, gateway and sample mail (ARGS=--once ends after the table)
	$(BIN)/mailward demo $(ARGS)

test: $(READY) ## run the tests (ARGS="-k store" for some of them)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY) ## check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --scripts-are-modules scripts/tuf-conformance-client
	$(BIN)/lint-imports

bench: $(READY) ## run the benchmarks (ratios measured in one run)
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(READY): pyproject.toml uv.lock
	@if command -v uv >/dev/null 2>&1; then uv sync --locked --quiet --no-python-downloads --compile-bytecode; \
	else $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --upgrade pip \
	  && $(BIN)/python -m pip install --quiet --editable . --group dev; fi
	@touch $@
