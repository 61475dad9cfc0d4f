# make demo     train a conditional DCGAN on real handwritten digits, end with a report in runs/demo
# make test     the tests of a change: about six minutes on two cores
# make test-all make test, what is slow, and what is published: built, installed and used
# make bench    measure, write bench/results/<machine>.json and the README's tables
# make lint     ruff, mypy, clang-format
# make cuda-check   compile each kernel for each architecture: no warning, no spill, no stack frame
# make cuda-build   compile and link against a CUDA build of torch, run the tests against that
# make gpu      build, test and measure on a machine with a GPU, into runs/gpu_report.json
#
# Each sets up what it needs; what is current is not installed or built again.

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_CUDA ?= torch==2.14.1
GANFAST_BUILD ?= auto
CACHE ?= $(HOME)/.cache/ganfast

export GANFAST_BUILD

VENV := .venv
BIN := $(VENV)/bin
CPP := $(wildcard csrc/*.cpp csrc/*/*.h csrc/*/*.cpp csrc/*/*.cu csrc/*/*.cuh)
TESTS_CPP := $(wildcard tests/simt/*.h tests/simt/*.cpp)
COMPILER := $(shell command -v $${CXX:-c++})

# One mark for each torch and each kind of build: asking for another one makes it.
INSTALLED := $(VENV)/installed-$(subst =,-,$(notdir $(TORCH)))
BUILT := $(VENV)/built-$(GANFAST_BUILD)

# Each of two processes has one thread, as both cores are taken.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal
# Runs a command without its output, which is shown where it fails.
QUIETLY = mkdir -p build && { $(1) > build/$(2).log 2>&1 || { cat build/$(2).log; exit 1; }; }

.PHONY: demo test test-all simt simt-quick pytest package-check bench lint format cuda-check cuda-build gpu clean

demo: $(BUILT)
	$(BIN)/ganfast demo --overwrite

test: simt-quick pytest

pytest: $(BUILT)
	$(PYTEST) -m "not slow"

# The tests come last, so that their count ends the output.
test-all: simt package-check
	$(PYTEST)

# Also builds the checkout's extension: it is the wheel's.
package-check: $(INSTALLED)
	$(BIN)/python scripts/package_check.py build/package $(TORCH)
	rm -f $(VENV)/built-*
	touch $(BUILT)

# The CUDA kernels on the CPU.
ifneq ($(and $(COMPILER),$(filter-out none,$(GANFAST_BUILD))),)
# $(1): target of the build, $(2): which tests
define run_simt
	$(BIN)/cmake -S . -B build/simt -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja > /dev/null
	@echo "simt: compiling the CUDA kernels for the CPU"
	@$(call QUIETLY,$(BIN)/cmake --build build/simt --target $(1),simt)
	$(BIN)/ctest --test-dir build/simt --output-on-failure -j 2 $(2)
endef

simt: $(INSTALLED)
	$(call run_simt,all)

# Without the thread sanitizer.
simt-quick: $(INSTALLED)
	$(call run_simt,quick,-L quick)
else
simt simt-quick:
	@echo "simt: no C++ compiler, or none wanted: the kernels' own tests were not run"
endif

bench: $(BUILT)
	$(BIN)/python -m bench.collect
	$(BIN)/python -m bench.render

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP) $(TESTS_CPP)

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP) $(TESTS_CPP)

cuda-check:
	$(PYTHON) scripts/cuda_check.py

cuda-build:
	$(PYTHON) scripts/cuda_build.py $(CACHE) $(TORCH_CUDA)

# With the torch of the machine, which has to be a CUDA build.
gpu:
	$(PYTHON) scripts/gpu_report.py

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)" "setuptools>=77" wheel ninja
	GANFAST_BUILD=none $(BIN)/python -m pip install --quiet --no-build-isolation -e ".[test,bench,lint]"
	rm -f $(VENV)/installed-* $(VENV)/built-*
	touch $@

$(BUILT): $(INSTALLED) $(CPP) setup.py build_backend.py
	@echo "ganfast: compiling the extension"
	@$(call QUIETLY,PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python setup.py --quiet build_ext --inplace,extension)
	@rm -f $(VENV)/built-*
	touch $@

clean:
	rm -rf build ganfast/_C*.so ganfast/_build.json
