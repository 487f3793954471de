# Every target sets up what it needs on a machine that has Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.requirements
# uv from the path where there is one; else the environment gets its own, never the system's Python.
UV := $(shell command -v uv 2>/dev/null)
JOBS ?= 2

.PHONY: env demo test test-slow test-gpu test-oldest lint format lock clean

env: $(STAMP)

$(STAMP): requirements.txt
	@if [ -n "$(UV)" ]; then \
	  test -x $(RUN) || $(UV) venv --quiet --python $(PYTHON) $(VENV); \
	  $(UV) pip sync --quiet --python $(RUN) --require-hashes --compile-bytecode requirements.txt; \
	else \
	  test -x $(VENV)/uv/bin/uv || { $(PYTHON) -m venv $(VENV) && $(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/pip install --quiet uv; }; \
	  $(VENV)/uv/bin/uv pip sync --quiet --python $(RUN) --require-hashes --compile-bytecode requirements.txt; \
	fi
	@cp requirements.txt $(STAMP)

demo: env
	$(RUN) -m ablations.kernel_size --seeds 2 --jobs $(JOBS)

test: env
	$(RUN) -m pytest -q -n $(JOBS) -m "not slow and not gpu"

test-slow: env
	$(RUN) -m pytest -q -m slow

test-gpu: env
	$(RUN) -m pytest -q -m gpu

# The floors of pyproject.toml, in an environment of their own.
test-oldest: env
	$(VENV)/bin/python -c "import sys; print(sys.version)"

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: env
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
