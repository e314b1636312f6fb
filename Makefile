.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
.PHONY: help setup rehearse lab test test-all bench lint clean

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

test: setup ## everything that needs nothing from the system
	$(PYTHON) -m pytest -m "not slow"

test-all: test ## test, and the slow rest
	$(PYTHON) -m pytest -m slow

bench: setup ## what benchmarks/README.md holds a dated copy of; each file there that has a main, in turn
	@for file in $$(grep -l '^if __name__' benchmarks/*.py); do \
	  echo "## $$file"; nice $(PYTHON) -m benchmarks.$$(basename $$file .py) || exit 1; done

lint: setup ## style and import contracts
	.venv/bin/ruff check .

clean: ## remove what was built here; records in outputs/ stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
