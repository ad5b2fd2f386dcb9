# make demo: install, fit an LSTM to a real series, write the report.   make test: the whole suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs conformance results bench sanitize clean

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/gatework fit forecast airpassengers --horizon 12 --scaling log --epochs 600 --patience 100 --out demo
	@echo "Open demo/report.html in a browser."

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# The page of every cell in docs/cells, made anew.
docs: $(VENV)/installed
	$(BIN)/python docs/cells.py

# docs/conformance.md, measured anew; nothing else may run on the machine.
conformance: $(VENV)/installed-test
	$(BIN)/python benchmarks/conformance.py --write docs/conformance.md

# The figures of docs/results.md, measured anew.
results: $(VENV)/installed-test
	$(BIN)/python benchmarks/backtests.py --write docs/results.md

# The figures of docs/performance.md, measured anew; nothing else may run on the machine. ONNX
# Runtime and JAX take part where .venv has them: pip install onnxruntime onnxscript jax.
bench: $(VENV)/installed-test
	$(BIN)/python benchmarks/speed.py --write docs/performance.md

# Every cell's kernels under the address and undefined-behaviour sanitizers of gcc (the suite runs
# a short form).
sanitize: $(VENV)/installed-test
	$(BIN)/python tests/sanitize.py

clean:
	rm -rf $(VENV) demo

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gatework needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test]"
	touch $@
