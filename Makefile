# `make demo`, `make test`, ...: each builds the environment it needs.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help demo test test-fast check docs wheel

help:
	@echo "make demo    soft prompts on a synthetic task, offline, with a picture (under 5 minutes)"
	@echo "make test    all tests"
	@echo "make test-fast   all but the slow ones, in under a minute"
	@echo "make check   format, lint and types"
	@echo "make docs    the documentation as a site in site/, readable without a network"
	@echo "make wheel   sdist and wheel in dist/, installed in an empty environment and used there"

demo: $(INSTALLED)
	$(BIN)/python -m experiments.demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-fast: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow"

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheel:
	$(PYTHON) tests/packaging/wheel.py

# Built again whenever what is to be installed changes; constraints.txt fixes every version.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Building $(VENV) with $$($(PYTHON) --version); this takes a few minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
