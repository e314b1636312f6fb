.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# Three at a time, by file, since much of it waits: a worker has its servers, pooler and browser to itself. WORKERS=0 for
# one after the other. In our own order, long files first: by the number of their tests the week of phases would come last, alone.
PYTEST = $(PYTHON) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
WORKERS ?= 3
.PHONY: help setup rehearse lab test test-all attack bench lint clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.venv/.done: requirements.lock pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: .venv/.done ## build .venv from requirements.lock

rehearse: setup ## Day 3 on a real PostgreSQL, every step a notebook; ends with the report
	.venv/bin/rollout rehearse

lab: setup ## JupyterLab on working copies of the notebooks; a practice day where no plan says otherwise
	.venv/bin/rollout lab

test: lint ## style and types, then everything that needs nothing from the system
	$(PYTEST) -m "not slow"

test-all: test ## test, and the slow rest
	$(PYTEST) -m slow

attack: setup ## 10,000 steps of a stranger between the operations, others each time
	ROLLOUT_ATTACKS=400 $(PYTHON) -m pytest -n 0 tests/attacks

bench: setup ## what benchmarks/README.md holds a dated copy of; each file there that has a main, in turn
	@for file in $$(grep -l '^if __name__' benchmarks/*.py); do \
	  echo "## $$file"; nice $(PYTHON) -m benchmarks.$$(basename $$file .py) || exit 1; done

lint: setup ## style, format, import contracts and types; prints the size of the house
	.venv/bin/ruff check .
	.venv/bin/ruff format --check -q .
	.venv/bin/lint-imports >/dev/null || .venv/bin/lint-imports
	.venv/bin/mypy
	@$(PYTHON) -m benchmarks.house

clean: ## remove what was built here; records in outputs/ stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
