# dnsd: `make run` to try it, `make test` to trust it, `make bench` to compare it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 5353
TOOLS := $(VENV)/.tools
STAMP := $(VENV)/.installed
SOURCES := pyproject.toml README.md LICENSE $(shell find dnsd -type f -not -name '*.pyc')
PIP := $(BIN)/pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install --no-deps --no-build-isolation --force-reinstall $(VENV)/src

.PHONY: install run test lint format bench lock clean

install: $(STAMP)

$(TOOLS): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint requirements.lock --editable '.[dev]'
	touch $@

# From a copy: compiled modules beside the sources would hide later changes to them.
$(STAMP): $(TOOLS) $(SOURCES)
	rm -rf $(VENV)/src
	mkdir $(VENV)/src
	cp -R pyproject.toml README.md LICENSE dnsd $(VENV)/src
	{ command -v cc && HATCH_BUILD_HOOKS_ENABLE=1 $(INSTALL); } || \
	{ echo 'dnsd is installed interpreted, and takes longer for what it forwards: no C compiler, or no headers of Python' >&2; $(INSTALL); }
	touch $@

run: $(STAMP)
	exec $(BIN)/dnsd demo --port $(PORT)

test: lint $(STAMP)
	$(BIN)/pytest

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(TOOLS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

lock: $(TOOLS)
	{ echo "# Exact versions for every build and test; written by 'make lock'."; $(BIN)/pip freeze --exclude dnsd; } > requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/out
