# make test: everything that must pass.  make demo: see it work.  make bench: measure it.  make docs: the site.
# make oldest: the tests with the oldest libraries that are supported.
# make calibration: simulate how well tests and intervals hold their level.
# PYTHON chooses the interpreter that makes .venv (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := rm -rf docs/api/generated && $(BIN)/python -m sphinx -E -W -n --keep-going -q docs build/docs
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: test oldest system docs demo bench calibration format clean

test: $(VENV)/.test system
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SITE)
	# two workers, each with one linear-algebra thread
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -ra

# The same tests with every library at its lower bound (pandas 2, NumPy 1), in an environment of its own;
# without what tests other programs, pages, speed, the words of engines that fail, or takes minutes.
OLDEST := .venv-oldest
OLDEST_PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 $(PYTHON) 2> /dev/null))
oldest: $(OLDEST)/.installed
	NUMBA_CACHE_DIR=$(OLDEST)/numba OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(OLDEST)/bin/python \
	  -m pytest -n 2 -ra -m "not slow" -p no:cacheprovider $(addprefix --ignore=tests/, \
	  bad_input/test_fuzzed_doors.py bad_input/test_fuzzed_fits.py benchmarks demo engines/test_faults.py optimize properties reporting \
	  test_docs.py test_reference.py)

$(OLDEST)/.installed: pyproject.toml tests/oldest-constraints.txt
	rm -rf $(OLDEST)
	$(OLDEST_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "the oldest libraries have wheels for Python 3.11 and 3.12: make oldest OLDEST_PYTHON=..."; exit 1; }
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet -c tests/oldest-constraints.txt --editable '.[test-oldest]'
	@touch $@

# The site, in build/docs: a warning or a link that leads nowhere is an error.
docs: $(VENV)/.test
	$(SITE)

# Chromium, Node.js and Java: what no Python package brings. Tests that miss one are skipped, and say so.
system:
	@tests/install-system-packages

demo: $(VENV)/.demo
	$(BIN)/python -m mixedmodels demo

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m benchmarks growth)
	$(if $(ARGS),,$(BIN)/python -m benchmarks engines)
	$(if $(ARGS),,$(BIN)/python -m benchmarks inference)

calibration: $(VENV)/.bench
	$(BIN)/python -m benchmarks calibration $(ARGS)

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-oldest build dist docs/_project docs/api/generated .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "mixedmodels needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# A stamp for each set of extras: it is installed again only when pyproject.toml changes.
$(VENV)/.test: EXTRAS := [test,docs,lint]
$(VENV)/.demo: EXTRAS := [demo]
$(VENV)/.bench: EXTRAS := [bench]
$(VENV)/.test $(VENV)/.demo $(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.$(EXTRAS)'
	$(BIN)/python -m compileall -q src
	@touch $@
