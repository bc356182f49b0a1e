# The two commands for everybody:  make demo   make test
# Everything they need beyond Rust, CPython 3.10+, a C compiler and make is installed into .venv.

PYTHON ?= python3
VENV   := .venv
VENV6  := .venv-6
BIN    := $(VENV)/bin
RUST   := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name 'Cargo.toml')
SOURCE := pyproject.toml README.md $(RUST) \
          $(shell find python -type f -not -name '*.so' -not -path '*/__pycache__/*')

.PHONY: help demo test test-rust test-python lint format bench develop clean
.DELETE_ON_ERROR:

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.installed  ## build, and run a call on the local servers; results in demo-out/
	$(BIN)/python -m getstream.plugins.gemini demo --out demo-out

test: test-rust test-python  ## build, and run all tests

test-rust:  ## the tests of the audio core
	cargo test --workspace --quiet

test-python: $(VENV)/.test $(VENV6)/.installed  ## all Python tests, against the installed wheel
	GETSTREAM6_PYTHON=$(CURDIR)/$(VENV6)/bin/python $(BIN)/pytest

lint: $(VENV)/.lint  ## formatting, lints and types
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.lint  ## format everything
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

develop: $(VENV)/.installed  ## build and install the wheel into .venv (editable installs cannot work, see README)

clean:  ## remove everything that was built
	rm -rf $(VENV) $(VENV6) dist target demo-out

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

dist/.built: $(SOURCE) | $(BIN)/python
	rm -rf dist && mkdir -p dist
	$(BIN)/python -m pip install --quiet "maturin>=1.9,<2"
	$(BIN)/maturin build --release --quiet --out dist
	touch $@

$(VENV)/.installed: dist/.built
	$(BIN)/python -m pip install --quiet dist/*.whl
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group test
	touch $@

$(VENV)/.lint: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group lint
	touch $@

# The same wheel beside the older Stream SDK, whose connections have another shape.
$(VENV6)/.installed: dist/.built
	test -x $(VENV6)/bin/python || $(PYTHON) -m venv $(VENV6)
	$(VENV6)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV6)/bin/python -m pip install --quiet "getstream[webrtc]==6.1.1" dist/*.whl
	$(VENV6)/bin/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@
