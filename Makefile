# Two commands for a fresh machine with Python 3.11 or newer: `make quickstart` and `make test`.
# Each makes .venv and installs what it needs; a second call reuses it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DICTIONARIES := hunspell-en-us hunspell-en-gb hunspell-fr hunspell-pt-br hunspell-pt-pt hunspell-ru hunspell-de-de
# Python compiles what it imports; compiling all that is installed would take another minute.
PIP := $(BIN)/python -m pip install --quiet --no-compile
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
TESTED := xltjax eval converters configs tests benchmarks

.PHONY: quickstart study test test-all ready pytest-not-slow pytest-all lint types format docs package clean

quickstart: $(VENV)/quickstart.installed $(VENV)/dictionaries.done
	$(BIN)/python -m xltjax.miniature

# The paper's questions and the remedies on the toy world, three seeds: about ten minutes on two idle cores.
study: $(VENV)/quickstart.installed $(VENV)/dictionaries.done
	$(BIN)/python -m xltjax.study study/miniature

# Types are checked beside the tests, which now and then wait.
test: ready lint
	$(MAKE) --no-print-directory -j2 types pytest-not-slow

test-all: ready lint
	$(MAKE) --no-print-directory -j2 types pytest-all

pytest-not-slow:
	$(PYTEST) -m "not slow"

# Models are compiled as users do, with all of XLA's optimizations.
pytest-all:
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= $(PYTEST)

ready: $(VENV)/test.installed $(VENV)/dictionaries.done $(VENV)/chromium.done $(VENV)/slurm.done $(VENV)/shells.done

lint: $(VENV)/test.installed
	$(BIN)/ruff check $(TESTED)
	$(BIN)/ruff format --check $(TESTED)

types: $(VENV)/test.installed
	$(call tree,build/types)
	MYPYPATH=build/types $(BIN)/mypy -p xltjax

format: $(VENV)/test.installed
	$(BIN)/ruff check --fix $(TESTED)
	$(BIN)/ruff format $(TESTED)

# The site, with a reference made from the docstrings; a broken link or an unknown name fails.
docs: $(VENV)/docs.installed
	$(call tree,build/docs)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site
	@echo "built: build/site/index.html"

# Wheel and sdist, checked, installed in an empty environment and tried there.
package: $(VENV)/test.installed
	rm -rf dist build/lib build/bdist.*
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python benchmarks/package.py dist/*.whl dist/*.tar.gz

# Debian splits venv from Python; apt fetches it when it may.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(call apt,python3-venv) && $(PYTHON) -m venv $(VENV); }
	$(PIP) --upgrade pip

$(VENV)/quickstart.installed: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[eval,report]'
	touch $@

$(VENV)/test.installed: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/quickstart.installed

$(VENV)/docs.installed: pyproject.toml | $(BIN)/python
	$(PIP) -e '.[docs]'
	touch $@

# Without dictionaries the spelling metric abstains; everything else works.
$(VENV)/dictionaries.done: | $(BIN)/python
	@for language in en_US en_GB fr_FR pt_BR pt_PT ru_RU de_DE; do \
	  test -e /usr/share/hunspell/$$language.dic || missing=yes; done; \
	if [ -n "$$missing" ]; then \
	  $(call apt,$(DICTIONARIES)) && touch $@ \
	  || echo "spelling will abstain; for it install: $(DICTIONARIES)"; \
	else touch $@; fi

# Without Chromium the tests that look at the report's page are skipped; the report itself needs no browser.
$(VENV)/chromium.done: | $(BIN)/python
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && found=yes; done; \
	if [ -z "$$found" ]; then \
	  $(call apt,chromium) && touch $@ \
	  || echo "the tests of the report's page will be SKIPPED; for them install: chromium"; \
	else touch $@; fi

# Shell completion is tried in each shell that it is documented for.
$(VENV)/shells.done: | $(BIN)/python
	@for name in zsh fish; do command -v $$name >/dev/null || missing=yes; done; \
	if [ -n "$$missing" ]; then \
	  $(call apt,zsh fish) && touch $@ \
	  || echo "the tests of shell completion will be SKIPPED; for them install: zsh fish"; \
	else touch $@; fi

# Without SLURM the tests that start one of their own are skipped; a study on one machine needs none.
$(VENV)/slurm.done: | $(BIN)/python
	@for name in slurmctld slurmd sbatch munged; do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $$name >/dev/null || missing=yes; done; \
	if [ "$$(id -u)" != 0 ]; then \
	  echo "the tests of the SLURM launcher will be SKIPPED; a SLURM of their own needs root"; \
	elif [ -n "$$missing" ]; then \
	  $(call apt,slurm-wlm munge) && touch $@ \
	  || echo "the tests of the SLURM launcher will be SKIPPED; for them install: slurm-wlm munge"; \
	else touch $@; fi

# mypy and mkdocstrings cannot follow setuptools' mapping of three folders into the namespace: a tree of links.
define tree
rm -rf $(1) && mkdir -p $(1)/xltjax && \
  ln -s $(CURDIR)/xltjax/* $(CURDIR)/eval $(CURDIR)/converters $(CURDIR)/configs $(1)/xltjax/
endef

# Install packages through apt when it is there and allowed, without asking.
define apt
{ command -v apt-get >/dev/null && \
  { [ "$$(id -u)" = 0 ] && sudo= || sudo="sudo -n"; $$sudo true 2>/dev/null; } && \
  $$sudo apt-get update -qq >/dev/null && \
  DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq $(1) >/dev/null; }
endef

clean:
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
