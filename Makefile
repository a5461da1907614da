# make demo: set up on a fresh machine and search.  make test: run the tests.  make lint: style and types.
# make quick: in under a minute the pure tests, of which one that imports torch or Ray fails, and those of the GPU path.
# make docs: write docs/COMMANDS.md and docs/API.md anew, and all pages as a site into build/site, which needs no network.
# make bench: nxt against its peers, into results/benchmarks/; on a quiet machine, about half an hour.
PYTHON ?= python3
BIN := .venv/bin

# Tests of what imports neither torch nor Ray; the slow ones (simulated searches, bootstraps) are left to `make test`.
UNIT := tests/unit
PURE := --ignore=$(UNIT)/space/test_latency_budget.py $(UNIT)/arch $(UNIT)/space $(UNIT)/search/results/test_pick.py \
	$(UNIT)/search/test_ranking.py $(UNIT)/train/test_recipe.py $(UNIT)/train/test_history.py $(UNIT)/data/test_ref.py \
	$(foreach name,config files imports messages pareto rundir units,$(UNIT)/test_$(name).py)

# What a GPU is asked, on a machine without one.
GPU := $(UNIT)/compute/test_accelerator.py $(UNIT)/compute/test_cuda_graph.py tests/contract/test_fake_gpu.py \
	$(foreach name,optim setup,$(UNIT)/train/engine/test_$(name).py) \
	$(foreach name,packing driver watchdog,$(UNIT)/search/engine/test_$(name).py)

# More processes than cores: many tests wait for processes of their own. Files begin in the order of pyproject.toml.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: demo quick test test-all lint format docs bench clean
.DEFAULT_GOAL := test

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# Networks of ResNeXt-50's multiply-adds that have no more activations: a minute on two cores, about three at most.
demo: .venv/installed
	$(BIN)/nxt search --flops 4.1G --acts :15M --trials 12 --confirm 2 --hours 0.05 --set proxy.epochs=3

quick: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --pure $(PURE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(GPU)

test: .venv/installed
	$(PYTEST)

test-all: .venv/installed
	$(PYTEST) -m "slow or not slow"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/build_site.py

bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench]"
	for name in startup gate networks input; do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info
