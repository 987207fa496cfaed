# `make demo` and `make test` do all the set-up that a bare machine needs, in .venv, and skip it the second time.
PYTHON ?= python3
MACHINE ?= cpu
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
# What is imported is compiled once, also where the environment forbids to keep that: hundreds of the tests' processes
# import torch, and each would compile it again, for seconds.
unexport PYTHONDONTWRITEBYTECODE
CPP := $(shell find csrc tests/native tests/emulation -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
BUILD_INPUTS := setup.py build_engine.py pyproject.toml constraints.txt $(filter csrc/%,$(CPP))

.PHONY: demo test test-gpu lint docs bench bench-gpu profile-gpu wheel test-wheel clean
demo: $(VENV)/.installed
	$(BIN)/dissect demo --out out

# Two files at a time, each with one thread of torch's: more would wait for one another, and where a test wants more they
# must not spin. In the order of tests/conftest.py: the longest first.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
test: $(VENV)/.installed
	$(PYTEST)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The site, in build/site: `python -m http.server -d build/site` shows it. A warning is an error.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# torch's idle threads must not spin beside the engine's while these are timed, hence the policy.
# ROWS=thresholds measures those alone; the others stay as they are.
bench: $(VENV)/.installed
	mkdir -p build
	OMP_WAIT_POLICY=passive $(BIN)/pytest benchmarks --benchmark-enable --benchmark-json=build/benchmarks.json -q -k "$(ROWS)"
	$(BIN)/python benchmarks/tables.py record build/benchmarks.json $(MACHINE)
	$(BIN)/python benchmarks/tables.py readme

# On a machine with a GPU, and with its own Python: no network is needed, what is done is not done again, and each call
# ends within $(SECONDS_AT_MOST) seconds, having said whether there is more to do.
SECONDS_AT_MOST ?= 540
test-gpu:
	$(PYTHON) benchmarks/gpu_stages.py $(SECONDS_AT_MOST) build test sanitize triton cpu thorough

bench-gpu:
	$(PYTHON) benchmarks/gpu_stages.py $(SECONDS_AT_MOST) build bench

profile-gpu:
	$(PYTHON) benchmarks/gpu_stages.py $(SECONDS_AT_MOST) build profile

# The wheel is built from the source distribution, so that a file missing from that is noticed: also where the file that
# includes it need not be compiled again, since its time is that of the tree's.
wheel: $(VENV)/.installed
	rm -rf dist
	DISSECT_OBJECTS=$(CURDIR)/build/objects $(BIN)/python -m build --outdir dist .

# Against the wheel instead of the tree: that it has the same files, for which the tree's tests speak then, that every
# module is imported, and that what is found by its place works there: commands, a report with its templates, the examples
# of folders with pages and weights.
COMMANDS = demo_on_a_few_scenes the_module_runs report_of_a_saved_result info_for_people
IN_WHEEL = test_wheel.py $(COMMANDS:%=cli/test_cli.py::test_%) report/test_html.py::test_the_lead_tells_images_and_preset \
	test_face.py
test-wheel: wheel
	rm -rf build/wheel
	$(PIP_INSTALL) --no-deps --target build/wheel dist/*.whl
	PYTHONPATH=build/wheel DISSECT_TEST_INSTALLED=build/wheel $(PYTEST) -n 0 -k "not test_import" $(addprefix tests/,$(IN_WHEEL))

# Editable, so that only a change of the C++ or of the dependencies needs the set-up again. Python compiles what is
# imported, pip would compile all of the packages that there are. A pip as old as Python takes twice as long to choose
# them; a new one hands on what setuptools warns every editable package of. The engines are compiled while pip fetches and
# unpacks: that finds them done, or does it, and says what is wrong with them.
$(VENV)/.installed: $(BUILD_INPUTS)
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("dissect needs Python 3.10 or later")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --constraint constraints.txt --upgrade pip ninja pybind11
	$(BIN)/python build_engine.py >/dev/null 2>&1 & \
		PYTHONWARNINGS=ignore $(PIP_INSTALL) --constraint constraints.txt --editable '.[report,test,lint,triton,docs]'; done=$$?; wait; exit $$done
	touch $@

clean:
	rm -rf $(VENV) build dist out *.egg-info dissect/_C*.so dissect/_cuda*.so
