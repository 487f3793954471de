# Each target sets up what it needs. The machine must have Python 3.11 or newer, git and make.
PYTHON ?= python3
JOBS ?= 2
SEEDS ?= 3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
# Use the uv on the path, or else install one inside .venv. The system's Python stays as it is.
UV := $(or $(shell command -v uv 2>/dev/null),$(BIN)/uv)
COMPILE := pip compile pyproject.toml --group suite --group dev --quiet --no-header --no-annotate
DOCS := .venv-docs

.PHONY: env demo demo-real test test-slow test-smoke test-slurm test-gpu test-oldest lint format lock docs

env: $(VENV)/.synced

$(VENV)/.synced: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(0 if sys.version_info >= (3, 11) else 'error: $(PYTHON) is Python %d.%d, 3.11 or newer is needed; choose one with make PYTHON=...' % sys.version_info[:2])"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x "$(UV)" || $(BIN)/python -m pip install --quiet "$$(grep -o '^uv==[^ ;]*' requirements.txt)"
	@echo "setting up $(VENV) (the first time, torch and its CUDA libraries are a download of about 3 GB)"
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.txt
	@touch $@

demo: env
	$(BIN)/python -m ablations.kernel_size --seeds $(SEEDS) --jobs $(JOBS)

# The headline of docs/reproduction.md with three of its ten seeds, on Fashion-MNIST from Debian's package
# dataset-fashion-mnist or ./data.
demo-real: env
	$(BIN)/python -m ablations.operator --config docs/protocol/fashion/operator.yaml --seeds 3 --jobs $(JOBS) \
	  --only operator=convolution,xvolution,xvolution_static --out runs/fashion

test: env
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and not smoke and not gpu and not slurm"

test-slow: env
	$(BIN)/python -m pytest -q -m slow

# Run every sweep from its first cell to its table and figure, with 20 training steps a cell.
test-smoke: env
	$(BIN)/python -m pytest -q -m smoke

# Start a temporary Slurm cluster on this machine. The tests skip with a reason where that is impossible.
test-slurm: env
	$(BIN)/python -m pytest -q -m slurm

test-gpu: env
	$(BIN)/python -m pytest -q -m gpu

# Test with the oldest versions that pyproject.toml allows, in a separate environment.
test-oldest: env
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(OLDEST)
	$(UV) $(COMPILE) --python $(OLDEST)/bin/python --resolution lowest-direct --output-file $(OLDEST)/requirements.txt
	$(UV) pip sync --quiet --python $(OLDEST)/bin/python --compile-bytecode $(OLDEST)/requirements.txt
	$(OLDEST)/bin/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and not smoke and not gpu and not slurm"

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages of docs/ as a site, with every link checked. The environment is small and needs no torch.
docs: $(DOCS)/.synced
	$(DOCS)/bin/python docs/make_site.py

$(DOCS)/.synced: docs/requirements.txt
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r docs/requirements.txt
	@touch $@

# Pin every package for every platform, with hashes and without addresses.
lock: env
	$(UV) pip compile --group docs --quiet --no-header --no-annotate --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --output-file docs/requirements.txt
	$(UV) $(COMPILE) --upgrade --universal --generate-hashes --no-emit-index-url --no-emit-find-links --output-file requirements.txt
