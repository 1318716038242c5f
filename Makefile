# Two commands: `make study` reproduces the tables and figures, `make test` runs every check.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install study test html

# The environment alone: enough to render.
install: .venv/installed

study: .venv/installed
	$(BIN)/python -m bokehlib study

test: .venv/installed
	$(BIN)/python -m pytest

# The executed notebooks as web pages, in results/runs/html.
html: .venv/installed
	$(BIN)/python -m bokehlib.webpages

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; found $$($(PYTHON) --version 2>&1); set PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[study,workflow,dev]'
	@touch $@
