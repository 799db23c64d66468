# Everything runs from .venv, made from the lock files. A second run finds its stamp and starts at once.

SHELL := /bin/sh
# Where this is set, each process of the suite would compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
# The lock covers Python 3.11 to 3.13; override with make PYTHON=...
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)

# uv installs in seconds what takes pip minutes. It asks the index that pip is configured for. Where it
# cannot be had, or cannot reach the index, pip does the same from the same lock, which is complete: --no-deps,
# for it does not know what [tool.uv] leaves out.
UV_INDEX = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}}"
BYTECODE := --compile-bytecode
install_lock = echo "Installing $(1) into $(VENV)"; \
	{ [ -x $(BIN)/uv ] && $(UV_INDEX) $(BIN)/uv pip install $(BYTECODE) --python $(BIN)/python --require-hashes -r $(1); } \
	|| $(BIN)/python -m pip install --progress-bar off --no-deps --require-hashes -r $(1)

# Much of the suite's time is spent waiting for Ray and TensorFlow to start; several processes fill the gaps.
# Each takes the next file when it is done with one, in the order of tests/conftest.py: long ones first. One that
# crashes is not replaced: pytest-xdist 3.8 would hand out the files that it had finished once more, and hang.
TEST_PROCESSES ?= 3

# What may differ from one Python to the next: decoding, faces, and every job once, by the demo.
OTHER_PYTHON_TESTS := tests/pipelines/demo/test_whole_demo.py tests/video/test_decoder.py \
	tests/crops/test_extraction.py
THAT_VENV = .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

.PHONY: help install demo test test-fast test-python test-av drill image check lint format types lock docs docs-site clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.installed ## Make .venv with what the jobs need: CPU TensorFlow, S3, the demo's faces
	@echo "$(BIN)/python and $(BIN)/deepfake are ready"

demo: $(VENV)/.installed ## Build the demo's data and run every job on it (ARGS="--epochs 5")
	@$(BIN)/python jobs/demo.py $(ARGS)

# The processes of a suite share the cores; threads of linear algebra that wait for each other would only spin.
test test-fast tests-under-it tests-with-it: export OPENBLAS_NUM_THREADS = 1

test: check ## Lint, formatting, types and the whole test suite (ARGS="tests/pipelines/demo -x")
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
		--max-worker-restart 0 $(ARGS)

test-fast: $(VENV)/.installed-dev ## Units and properties only, in two minutes: no Ray, training, browser, S3
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --fast $(ARGS)

test-python: ## A choice of tests under another Python, in an environment of its own (PYTHON=python3.13)
	@$(MAKE) --no-print-directory VENV=$(THAT_VENV) BYTECODE= PYTHON=$(PYTHON) tests-under-it

tests-under-it: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(OTHER_PYTHON_TESTS) $(ARGS)

test-av: ## Decoding by the newest PyAV that pyproject.toml allows (PYTHON=python3.13)
	@$(MAKE) --no-print-directory VENV=$(THAT_VENV) BYTECODE= PYTHON=$(PYTHON) tests-with-it

tests-with-it: $(VENV)/.installed-dev
	@$(UV_INDEX) $(BIN)/uv pip install -q --python $(BIN)/python --upgrade --no-deps --target $(VENV)/newest \
		"$$(sed -n 's/^    "\(av[<>=].*\)",/\1/p' pyproject.toml)"
	PYTHONPATH=$(VENV)/newest $(BIN)/python -m pytest tests/video/test_decoder.py tests/crops/test_extraction.py \
		$(addprefix tests/video/test_,colour.py container.py frame_folder.py image.py parts_and_streams.py) \
		-k "not test_decoder or every_n-7 or title or orient or square or cover"

drill: $(VENV)/.installed-dev ## Break a cluster on this machine on purpose; a table of what became of the jobs
	$(BIN)/python -m tests.drill $(ARGS)

image: $(VENV)/.installed ## Rehearse the build of the container image without an engine; root, a few minutes
	.ci/image

check: lint types ## Lint, formatting and types only

lint: $(VENV)/.installed-dev ## Lint, check formatting and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev ## Check types
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## Format the code and mend what lint can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## Write the generated pages of docs/ again
	$(BIN)/python docs/generate.py

# Its generator is in an environment of its own: the jobs and their tests have no use for it.
docs-site: .venv-docs/.installed ## Build docs/ as a site in build/site; a link that leads nowhere fails
	.venv-docs/bin/python docs/build_site.py

.venv-docs/.installed: $(VENV)/.tools requirements-docs.lock
	@[ -x .venv-docs/bin/python ] || $(PYTHON) -m venv .venv-docs
	@$(UV_INDEX) $(BIN)/uv pip install -q --python .venv-docs/bin/python --require-hashes -r requirements-docs.lock \
		|| .venv-docs/bin/python -m pip install -q --require-hashes -r requirements-docs.lock
	@touch $@

# Versions of the tools that install the rest: uv, and what builds the project itself.
TOOLS := uv==0.13.9 hatchling editables
# One version of a package for all Pythons, not the newest for each: what one of them tests holds on the others.
COMPILE = $(UV_INDEX) $(BIN)/uv pip compile --universal --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-header -q

lock: $(VENV)/.installed ## Resolve the dependencies again and write the lock files (ARGS="--upgrade")
	$(COMPILE) $(ARGS) pyproject.toml --extra cpu --extra dev -o requirements-dev.lock
	$(COMPILE) pyproject.toml --extra cpu --extra s3 --extra aws --extra demo -c requirements-dev.lock -o requirements.lock
	$(subst --universal,--python-platform x86_64-manylinux_2_28 --python-version 3.12,$(COMPILE)) pyproject.toml \
		--extra gpu --extra hub --extra s3 --extra aws -c requirements-dev.lock -o requirements-gpu.lock
	echo zensical | $(COMPILE) - --python-version 3.11 -c requirements-dev.lock -o requirements-docs.lock
	printf '%s\n' $(TOOLS) | $(COMPILE) - --python-version 3.11 -c requirements-dev.lock -o requirements-tools.lock

clean: ## Remove .venv, the demo's output and every cache
	rm -rf $(VENV) .venv-3.* .venv-docs demo_output dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.tools: requirements-tools.lock
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed; name it with make PYTHON=..." >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-tools.lock \
		|| echo "uv cannot be had here: pip installs the rest, which takes a few minutes"
	@touch $@

$(VENV)/.installed: $(VENV)/.tools requirements.lock
	@$(call install_lock,requirements.lock)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e . || $(BIN)/python -m pip install -q --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@$(call install_lock,requirements-dev.lock)
	@touch $@
