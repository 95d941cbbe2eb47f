# make site           build the executed site into site/
# make test           run the tests that take no more than seconds each
# make coverage       the same, and which lines no test ran
# make slow-test      run the others: records replayed, processes killed, whole pages
# make browser-test   look at every page of the site that was built, in a browser
# make notebook-test  run the notebooks of the site that was built
# make site-test      both at once
# make engine-wasm    compile the engine for web pages anew, after a change of its C sources
# All set up everything in .venv first, on a machine that has only Python, pip and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The theme announces its successor at every build.
export NO_MKDOCS_2_WARNING := 1
# Tests start some hundred processes; without bytecode on disk each compiles the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: site serve test coverage slow-test browser-test notebook-test site-test engine-wasm lint clean help

help:
	@sed -n '1,9s/^# //p' Makefile

site: $(INSTALLED)
	$(BIN)/python -m mkdocs build

serve: $(INSTALLED)
	$(BIN)/python -m mkdocs serve --livereload

# Two processes with one thread each are faster than one with two.
FAST := -m "not slow" -n 2 --dist loadfile --durations 5
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAST)

# Counting lines nearly doubles the time, and no test depends on it.
coverage: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(FAST) --cov

slow-test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n 2 --dist worksteal --durations 5

# On the site as it stands: build it first.
OF_SITE := MNIST_STEPS_SITE=site OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
browser-test: $(INSTALLED)
	$(OF_SITE) tests/site/test_browser.py

notebook-test: $(INSTALLED)
	$(OF_SITE) tests/site/test_notebooks.py

# Notebooks compute while pages load.
site-test: $(INSTALLED)
	$(OF_SITE) tests/site/test_browser.py tests/site/test_notebooks.py

engine-wasm: $(INSTALLED)
	$(BIN)/python -m site_tools.engine_assets

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

clean:
	rm -rf site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* build *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# uv when it is there. Otherwise pip: some systems ship Python without what puts pip into a new
# environment, and then the system's own pip installs into it.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Name another: make site PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@if command -v uv > /dev/null; then \
	  set -e; \
	  test -x $(BIN)/python || uv venv --python $(PYTHON) $(VENV); \
	  set -x; \
	  uv pip install --python $(BIN)/python -c constraints.txt -e '.[site,test]'; \
	else \
	  set -e; \
	  test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --clear --without-pip $(VENV); \
	  if $(BIN)/python -m pip --version > /dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
	  else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
	  set -x; \
	  $$pip install --disable-pip-version-check -c constraints.txt -e '.[site,test]'; \
	fi
	@touch $@
