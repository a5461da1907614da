# make demo: set up on a fresh machine and search.  make test: run the tests.  make lint: style and types.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint format clean
.DEFAULT_GOAL := test

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/installed
	$(BIN)/nxt search --flops 4.1G

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info
