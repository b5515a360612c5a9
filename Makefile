# Tokens to Thought. `make` alone lists the commands.

# The first Python here that the course is tested on, else python3; `make lab PYTHON=python3.13` chooses.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 && break; \
	p=python3; done; echo $$p)
endif
VENV := .venv
BIN := $(VENV)/bin
# Test processes at a time, and further arguments for JupyterLab (lab) or pytest (test).
JOBS ?= 2
ARGS ?=

# The environment is made again when the requirements change or the checkout has moved (its programs hold its path).
READY := $(VENV)/.ready-$(shell pwd | cksum | tr -d ' ')

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Must run on Pythons far too old, in order to say so.
define CHECK_PYTHON
import sys
have = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    sys.exit("The course needs Python 3.11 or newer, and $(PYTHON) is " + have + ".\n"
             "Install a newer one, or name one that you have: make lab PYTHON=python3.12")
if sys.version_info >= (3, 14):
    sys.stderr.write("Note: tested on Python 3.11 to 3.13; " + have + " may miss ready-made packages.\n")
try:
    import venv, ensurepip
except ImportError:
    sys.exit("$(PYTHON) cannot make virtual environments: its module venv is missing or incomplete.\n"
             "On Debian and Ubuntu: apt install python3-venv. Or name another one: make lab PYTHON=python3.12")
endef
export CHECK_PYTHON

.DEFAULT_GOAL := help
.PHONY: help lab test lint demo bench doctor install lock clean

help: ## list these commands
	@echo "Tokens to Thought: commands (the first one that needs it installs everything into $(VENV))"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(READY) ## open JupyterLab on the start page; on a machine without a screen: make lab ARGS=--no-browser
	@$(BIN)/course lab $(ARGS)

# All parts run even when an early one fails, and pytest's summary comes last. `course build` would write over a
# student's work in chapters/, so it runs only when the check has found nothing to write there. Progress is kept
# apart from the user's own.
test: $(READY) ## run everything: chapters current, checks audited, tests, doctests, notebooks
	@status=0; mkdir -p build; \
	export COURSE_HOME="$(CURDIR)/build/test-home" COURSE_SCALE=quick OMP_NUM_THREADS=1; \
	rm -rf "$$COURSE_HOME"; \
	{ $(BIN)/course build --check && $(BIN)/course build; } || \
		{ status=1; echo "build --check failed; now the tests" >&2; }; \
	$(BIN)/python -m pytest -n $(JOBS) -rs --nbmake --nbmake-timeout=600 tests course_lib autograder \
		$$(ls -d build/source chapters 2>/dev/null) $(ARGS) || status=1; \
	exit $$status

lint: $(READY) ## check style: ruff's rules and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

demo: $(READY) ## build a sample class of twelve submissions, grade it, name the report
	@$(BIN)/course demo

bench: $(READY) ## measure course_lib and the grader beside other libraries (the grader takes about half an hour)
	@set -e; for script in benchmarks/*.py; do $(BIN)/python "$$script"; done

doctor: $(READY) ## say what this machine has, what is missing and what to do about it
	@$(BIN)/course doctor

install: $(READY) ## only make the environment

lock: ## resolve pyproject.toml anew and write requirements.lock (for authors)
	@$(PYTHON) .ci/lock.py

clean: ## delete what can be made again; the environment, your notebooks and classroom/ stay
	rm -rf build .pytest_cache .ruff_cache .hypothesis
	find autograder course_lib tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# An environment that is half made, or was made in another place, is made from the beginning.
$(READY): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) was not found; the course needs Python 3.11 or newer." >&2; exit 1; }
	@"$(PYTHON)" -c "$$CHECK_PYTHON"
	@if ! { $(BIN)/python -c 'import pip' && grep -qF "$(abspath $(VENV))" $(BIN)/activate; } 2>/dev/null; then \
		echo "Making $(VENV) with $(PYTHON) and installing into it; this happens once and takes some minutes."; \
		"$(PYTHON)" -m venv --clear $(VENV); fi
	$(BIN)/python -m pip install --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.ready-*; touch $(READY)
