# make demo     train a DCGAN on real handwritten digits, end with a report in runs/demo
# make test     every test that this machine can run
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

.PHONY: demo test simt pytest bench lint format cuda-check cuda-build gpu clean

demo: $(BUILT)
	$(BIN)/ganfast demo --overwrite

test: simt pytest

pytest: $(BUILT)
	$(BIN)/python -m pytest -q

# The CUDA kernels on the CPU.
ifneq ($(and $(COMPILER),$(filter-out none,$(GANFAST_BUILD))),)
simt: $(INSTALLED)
	$(BIN)/cmake -S . -B build/simt -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja > /dev/null
	$(BIN)/cmake --build build/simt
	$(BIN)/ctest --test-dir build/simt --output-on-failure
else
simt:
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
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python setup.py --quiet build_ext --inplace
	rm -f $(VENV)/built-*
	touch $@

clean:
	rm -rf build ganfast/_C*.so ganfast/_build.json
