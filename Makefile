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

# The notebooks that were executed, as web pages that need no network, in results/runs/html.
html: .venv/installed
	@for run in results/runs/[0-9]*/????????????????.ipynb; do \
		page=$$(basename $$(dirname $$run))-$$(basename $$run .ipynb); \
		$(BIN)/python -m nbconvert --to bokehlib.extras.html.Page --embed-images --log-level WARN \
			--output-dir results/runs/html --output $$page $$run || exit; \
	done

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed; found $$($(PYTHON) --version 2>&1); set PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[study,workflow,dev]'
	@touch $@
