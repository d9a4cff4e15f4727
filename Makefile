PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKSPACE ?= workspace
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count() or 1, 4))')
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test browser check format bench clean

# The main job on the embedded default: no key, no server.
demo: $(VENV)/.installed
	$(BIN)/synth run suite=moderation workspace=$(WORKSPACE)
	$(BIN)/curate stats workspace=$(WORKSPACE)
	$(BIN)/curate dedup n=3 workspace=$(WORKSPACE)
	$(BIN)/curate export name=moderation workspace=$(WORKSPACE)
	@echo
	@echo "That was the whole loop. What to do next, in a shell with  . $(VENV)/bin/activate"
	@echo "  look        curate ls n=10 status=flagged    ·  curate trace ID"
	@echo "  label       ui   (the review app, http://localhost:8501)"
	@echo "  ask more    synth run suite=moderation seed=1"
	@echo "  write       synth cp general_ok   (edit prompts/general_ok.yaml)   synth run prompt=general_ok n=200"
	@echo "  a model     export ANTHROPIC_API_KEY=...   synth estimate general_ok n=500 provider=anthropic model=claude-haiku-5-5   (docs/providers.md)"
	@echo "  bring in    curate import posts.csv columns.text=body constants.language=en"
	@echo "  export      curate export name=moderation format=messages"

test: $(VENV)/.installed-dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# The tests of ui drive a real browser; where none can be installed they are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
		command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -q && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends chromium fonts-noto-core fonts-noto-cjk; } || \
		echo "no Chromium here and none could be installed: tests in a browser will be skipped"

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/synth check

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Tilth needs Python 3.11 or newer; say which with  make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/bin/python
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
