# GNU make, POSIX sh. On Debian or Ubuntu a fresh checkout needs nothing but this: `make serve`.

PYTHON ?= python3
UV ?= uv
ARGS ?=
DATABASES ?= sqlite postgresql
MARKS ?= not thorough

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help serve test check format pictures bench crash wheel script lock clean environment new-environment python fast project \
	tools new-tools browser postgresql
MAKEFLAGS += --no-builtin-rules --no-print-directory
# What is compiled is kept, whatever the surroundings say: each of the tests' servers would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input install
LOCKED := -qq --require-hashes --no-deps --only-binary :all:
LOCKS := requirements/base.txt requirements/build.txt requirements/fast.txt

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

serve: environment ## install what is missing, then run the server (PORT=9000, TRACKER_DATA_DIR=…)
	@exec .venv/bin/tracker serve

test: tools browser postgresql ## everything that must pass: check, and all tests on both databases (ARGS='-k name')
	@mkdir -p build
	@$(MAKE) check & checking=$$!; which="$(MARKS)"; for database in $(DATABASES); do \
		echo "Tests on $$database"; \
		TRACKER_TEST_DATABASE=$$database $(PY) -m pytest -m "$$which" --numprocesses=auto --dist=loadfile --durations=10 \
			--junitxml=build/tests-$$database.xml $(ARGS) && \
		$(PY) -c '$(NONE_SKIPPED)' build/tests-$$database.xml || { wait $$checking; exit 1; }; \
		which="($(MARKS)) and not any_database"; \
	done; wait $$checking

check: tools ## format, lint and types
	@echo "Checking format, lint and types"
	@failed=0; .venv/bin/ruff format --quiet --check . || failed=1; .venv/bin/ruff check --quiet . || failed=1; \
		.venv/bin/mypy --no-error-summary || failed=1; exit $$failed

format: tools ## rewrite the code as `make check` wants it
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format --quiet .

pictures: tools browser ## renew the README's pictures from the pages as they are
	@TRACKER_PICTURES=1 $(PY) -m pytest --quiet tests/browser/test_look.py
	@mkdir -p docs/pictures
	@cp build/pictures/campaign-desk-light.png docs/pictures/

bench: tools ## the budgets measured on this machine, as a table (ARGS='--json --rounds 3 --events 10000000')
	@command -v wrk >/dev/null || $(call apt,wrk)
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || $(call apt,nginx-light)
	@$(PY) -m bench $(ARGS)

crash: tools postgresql ## the tests that kill processes, for longer (ARGS='-x')
	@for database in $(DATABASES); do \
		TRACKER_TEST_DATABASE=$$database TRACKER_CRASH_ROUNDS=30 $(PY) -m pytest tests/crash $(ARGS) || exit 1; \
	done

wheel: environment ## build a wheel into dist/
	@$(PY) -m hatchling build --target wheel

script: environment ## make the newest t.<n>.js from its source static/t.js; a released one never changes
	@command -v terser >/dev/null || $(call apt,terser)
	@version=$$($(PY) -c 'from tracker.snippets import SCRIPT_VERSION; print(SCRIPT_VERSION)'); \
		NODE_PATH=/usr/share/nodejs terser static/t.js --compress --mangle --comments '/^!/' --output "static/t.$$version.js"; \
		echo "static/t.$$version.js: $$(gzip -9 <static/t.$$version.js | wc -c) bytes compressed," \
		"sha384-$$(openssl dgst -sha384 -binary static/t.$$version.js | openssl base64 -A)"

lock: ## write requirements/ anew from pyproject.toml (needs uv; LOCK_FLAGS=--upgrade takes the newest versions)
	$(COMPILE) pyproject.toml -o requirements/base.txt
	$(COMPILE) --group build -c requirements/base.txt -o requirements/build.txt
	$(PYTHON) -c '$(EXTRA_FAST)' | $(COMPILE) - -o requirements/fast.txt
	$(COMPILE) pyproject.toml --group dev -c requirements/base.txt -c requirements/build.txt -o requirements/dev.txt

clean: ## remove .venv, builds and caches; never data/
	@rm -rf .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A skipped test and one expected to fail are failures here: each hides something.
define NONE_SKIPPED
import sys, xml.etree.ElementTree as tree; \
cases = [case for case in tree.parse(sys.argv[1]).iter("testcase") if case.find("skipped") is not None]; \
sys.exit("\n".join("skipped, or expected to fail: " + case.get("name") for case in cases) or 0)
endef

# For every platform and Python from 3.11 on, with hashes, without addresses.
COMPILE = $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(LOCK_FLAGS)
EXTRA_FAST = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fast"])

# ---- What an installation is made of. Each step leaves a stamp in .venv and is taken again when that no longer fits.

# $(call state,FILES): the files' content, where the checkout lies (scripts hold absolute paths) and which interpreter
# .venv stands on. $(call current,STAMP,FILES): whether the stamp says the same.
state = { pwd; readlink -f $(PY); cat $(1); } | cksum
current = [ -x $(PY) ] && [ -f .venv/$(1) ] && [ "$$(cat .venv/$(1))" = "$$($(call state,$(2)))" ]

# $(call apt,PACKAGES) installs them where we may, else says what is missing and fails.
define apt
{ \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root='sudo -n'; fi; \
	command -v apt-get >/dev/null && $$as_root true 2>/dev/null && echo "Installing with apt-get:" $(1) && \
	{ said=$$($$as_root sh -c 'export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; \
		apt-get -qq --yes --no-install-recommends install "$$@"' sh $(1) </dev/null 2>&1) || \
		{ echo "$$said" >&2; false; }; } || \
	{ echo "Please install (the names are Debian's):" $(1) >&2; false; } \
}
endef

environment:
	@$(call current,complete,$(LOCKS)) || $(MAKE) new-environment
	@$(call current,project,pyproject.toml) || $(MAKE) project

# The stamp is written last, so that a .venv which an interruption left half-made is made anew.
new-environment: python
	@echo "Creating .venv"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@echo "Installing the libraries, each checked against its hash (half a minute)"
	@$(PIP) $(LOCKED) -r requirements/base.txt -r requirements/build.txt
	@$(MAKE) fast
	@$(call state,$(LOCKS)) >.venv/complete

python:
	@command -v $(PYTHON) >/dev/null || $(call apt,python3 python3-venv)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11. Name a newer one: make serve PYTHON=python3.12" >&2; false; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt,"$$($(PYTHON) -c '$(VENV_PACKAGE)')")
VENV_PACKAGE = import sys; print("python%d.%d-venv" % sys.version_info[:2])

# gunicorn_h1c is published as source only. A compiler is asked for only where it, or Python's headers, are missing.
fast:
	@echo "Compiling gunicorn's fast HTTP parser"
	@set -- $$($(PY) -c '$(COMPILER)'); \
		echo '#include <Python.h>' | $${CC:-$$1} -I"$$2" -x c -fsyntax-only - 2>/dev/null || \
		$(call apt,gcc libc6-dev $$3) || true
	@$(PIP) --require-hashes --no-deps --no-build-isolation -r requirements/fast.txt >.venv/fast.log 2>&1 || \
		echo "That failed, see .venv/fast.log: requests are parsed in Python, more slowly. \`make clean serve\` tries again."
define COMPILER
import sys, sysconfig as this; \
headers = "python%d.%d-dev" % sys.version_info[:2] if sys.base_prefix == "/usr" else ""; \
print(this.get_config_var("CC").split()[0], this.get_path("include"), headers)
endef

project:
	@echo "Installing tracker itself"
	@$(PIP) -qq --no-index --no-deps --no-build-isolation --editable .
	@$(call state,pyproject.toml) >.venv/project

tools: environment
	@$(call current,tools,requirements/dev.txt) || $(MAKE) new-tools

# Cut short, this leaves libraries half replaced: the environment counts as incomplete meanwhile.
new-tools:
	@echo "Installing the tools for tests, each checked against its hash"
	@trap 'exit 130' INT; rm .venv/complete; $(PIP) $(LOCKED) -r requirements/dev.txt; status=$$?; \
		$(call state,$(LOCKS)) >.venv/complete; exit $$status
	@$(call state,requirements/dev.txt) >.venv/tools

# The tests start a server of their own from it, as a user that is not root.
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(call apt,postgresql)

browser:
	@command -v chromium >/dev/null || $(call apt,chromium fonts-liberation)
	@command -v firefox-esr >/dev/null || command -v firefox >/dev/null || $(call apt,firefox-esr)
