# The registry's commands. Needs python3 (3.11 or newer, with venv), git and make; all else is set
# up in .uv (the installer) and .venv (the locked dependencies).
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
CHINESE := registry/portal/translations/zh_Hans_CN/LC_MESSAGES/messages.po
export UV_PYTHON_DOWNLOADS := never

.PHONY: help run test lint bench docs translations lock clean

help: ## Show this list.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

run: .venv/.run ## Start a registry with a demo world (REGISTRY_PORT, REGISTRY_DATA_DIR).
	@$(BIN)/consent-registry demo

test: .venv/.test ## Check everything, on SQLite and on PostgreSQL.
	@$(BIN)/python tests/system.py
	@$(MAKE) --no-print-directory lint
	@$(BIN)/pytest $(PYTEST_ARGS)

lint: .venv/.test ## Check style, types, and that imports point down.
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: .venv/.test ## Measure speed with 5 million consents; writes docs/performance.md.
	@$(BIN)/python -m bench

translations: .venv/.test ## Gather what pages say into the Chinese catalogue, to be translated.
	@cd registry/portal && ../../$(BIN)/pybabel --quiet extract --mapping babel.cfg --keywords lazy_gettext \
		--add-location file --sort-by-file --output ../../.venv/messages.pot .
	@$(BIN)/pybabel --quiet update --input-file .venv/messages.pot --output-file $(CHINESE) --locale zh_Hans_CN \
		--no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width 100 --init-missing
	@$(BIN)/pybabel --quiet compile --directory registry/portal/translations

lock: .venv/.test ## Lock the newest allowed versions anew.
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 setup.cfg --output-file requirements.lock
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --extra dev --constraint requirements.lock setup.cfg --output-file requirements-dev.lock

clean: ## Remove what was set up; data in var/ stays.
	rm -rf .uv .venv build *.egg-info

$(UV):
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "python3 3.11 or newer with venv is needed (Debian: apt-get install python3-venv)"; exit 1; }
	@$(PYTHON) -m venv .uv
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.run: $(UV) requirements.lock setup.cfg pyproject.toml $(CHINESE)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip install --quiet --require-hashes -r requirements.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/pybabel --quiet compile --directory registry/portal/translations
	@touch $@

.venv/.test: $(UV) requirements-dev.lock setup.cfg pyproject.toml $(CHINESE)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip install --quiet --require-hashes -r requirements-dev.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/pybabel --quiet compile --directory registry/portal/translations
	@touch $@
