# make demo | test | check | bench | science. PYTHON picks the interpreter, TORCH_INDEX a package index for
# torch, e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu for the small CPU build on Linux.
PYTHON ?= python3
TORCH_INDEX ?=
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
TORCH_FROM := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

.PHONY: demo test check bench science towers clean

demo: $(VENV)/.core
	$(BIN)/sensorium demo

# One torch thread a process: two processes of two threads on two cores wait for each other.
test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# The registered comparisons of science/, at micro size: a night on two cores; goes on after a kill.
science: $(VENV)/.dev
	$(BIN)/python -m benchmarks.science

towers: $(VENV)/.dev
	$(BIN)/sensorium cache fetch

clean:
	rm -rf $(VENV)

$(VENV)/.torch: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_FROM) $(TORCH)
	touch $@

$(VENV)/.core: $(VENV)/.torch pyproject.toml
	$(PIP) -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) -c constraints.txt -e '.[index,dev]'
	touch $@ $(VENV)/.core
