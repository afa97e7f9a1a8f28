# dnsd: `make run` to try it, `make test` to trust it, `make bench` to compare it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 5353
STAMP := $(VENV)/.installed

.PHONY: install run test lint format bench lock clean

install: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	touch $@

run: $(STAMP)
	exec $(BIN)/dnsd demo --port $(PORT)

test: lint
	$(BIN)/pytest

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

lock: $(STAMP)
	{ echo "# Exact versions for every build and test; written by 'make lock'."; $(BIN)/pip freeze --exclude-editable; } > requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/out
