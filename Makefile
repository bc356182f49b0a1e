# The two commands for everybody:  make demo   make test
# Everything they need beyond Rust, CPython 3.10+, a C compiler and make is installed into .venv.

PYTHON ?= python3
VENV   := .venv
VENV6  := .venv-6
VENVD  := .venv-docs
VENVP  := .venv-vision-agents
BIN    := $(VENV)/bin

# The wheel of dist/, with what the local servers and `demo` need.
WHEEL = "$$(echo dist/*.whl)[testing]"

# What the wheel is made of. Folders too: their times change when a file is removed.
VISIBLE := -not -path '*/.*' -not -path '*/__pycache__*'
SOURCE  := pyproject.toml README.md LICENSE Cargo.toml Cargo.lock $(wildcard build_backend/*.py) \
           $(shell find rust -type f $(VISIBLE)) \
           $(shell find python $(VISIBLE) -not -name '*.so')

.PHONY: help demo test test-rust test-python chromium redis soak miri lint lint-workflows format house docs \
        bench bench-barge-in bench-echo bench-import bench-load bench-playground bench-session bench-vad \
        bench-video trial-fleet develop clean
.DELETE_ON_ERROR:

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.installed  ## build, and run a call on the local servers; results in demo-out/
	$(BIN)/python -m getstream.plugins.gemini demo --out demo-out

test: test-rust test-python  ## build, and run all tests

test-rust:  ## the tests of the audio core
	cargo test --workspace --locked --quiet

# `pytest`, not `python -m pytest`: nothing of the checkout is on the path, the wheel is tested.
# Tests of calls and of fleets wait in real time for most of theirs, so they run beside the others, and
# before them: those are nice, because some of them compile.
test-python: $(VENV)/.installed $(VENV)/.test $(VENV6)/.installed  ## all Python tests, against the installed wheel
	@export GETSTREAM6_PYTHON=$(CURDIR)/$(VENV6)/bin/python; mkdir -p target; \
	$(BIN)/pytest tests/live tests/fleet >target/tests-live.log 2>&1 & live=$$!; \
	trap 'kill $$live' INT TERM; \
	nice $(BIN)/pytest --ignore=tests/live --ignore=tests/fleet; rest=$$?; \
	wait $$live; live=$$?; cat target/tests-live.log; exit $$((rest || live))

chromium:  ## install the browser that tests the report page, unless there is one (Debian and Ubuntu)
	command -v chromium chromium-browser google-chrome >/dev/null || { \
	  sudo=$$(command -v sudo || true); \
	  $$sudo apt-get update --quiet --quiet && \
	  $$sudo apt-get install --quiet --quiet --yes --no-install-recommends chromium; }

redis:  ## install the server that tests records in Redis, unless there is one (Debian and Ubuntu)
	command -v redis-server >/dev/null || { \
	  sudo=$$(command -v sudo || true); \
	  $$sudo apt-get update --quiet --quiet && \
	  $$sudo apt-get install --quiet --quiet --yes --no-install-recommends redis-server; }

soak: $(VENV)/.installed $(VENV)/.test  ## hours of conversation full of faults; SOAK_HOURS=1 SOAK_SEED=1
	$(BIN)/pytest -m soak -s tests/live/test_soak.py

# What Miri can interpret in minutes: the code with `unsafe` in it (the resampler's kernels, scalar and
# AVX2), and what stores samples. Its own list: the other tests run hours of audio.
miri:  ## interpret the core under Miri; needs nightly Rust with the component miri
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --package voice-audio --locked --lib -- \
	  base64:: pcm:: playback::store playback::envelope
	for features in "" "-C target-feature=+avx2,+fma"; do \
	  RUSTFLAGS="$$features" MIRIFLAGS=-Zmiri-disable-isolation \
	  cargo +nightly miri test --package voice-audio --locked --test resample -- twenty_milliseconds_in \
	    silence_is_exactly_silent flush_and_reset refused_input overload_saturates stereo_is_the_mean \
	    || exit 1; \
	done

lint: $(VENV)/.lint  ## formatting, lints and types
	cargo fmt --all --check
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python \
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lint-workflows: $(VENV)/.workflows  ## check .github/workflows and the Compose file of `manifests`
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec \
	  python/getstream/plugins/gemini/fleet/manifests/compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet .github

format: $(VENV)/.lint  ## format everything
	cargo fmt --all
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

house:  ## print measures of readability: fragments in docs, sizes, import circles, private reaches
	@$(PYTHON) scripts/house.py

# Results go to target/bench-results; with PUBLISH=1 those of a whole run go to benches/results, which
# README and docs quote.
bench: $(VENV)/.bench  ## measure the audio core beside other libraries; PUBLISH=1 to publish
	$(BIN)/pytest -c benches/pytest.ini benches
	cargo bench --package voice-audio --locked --quiet

bench-vad: $(VENV)/.bench  ## measure the voice activity detector beside others (2 minutes)
	$(BIN)/python benches/vad_accuracy.py

bench-echo: $(VENV)/.bench  ## measure the echo suppressor (6 minutes)
	$(BIN)/python benches/echo.py

bench-import: $(VENV)/.bench  ## measure what importing the package costs (2 minutes)
	$(BIN)/python benches/import_cost.py

bench-load: $(VENV)/.installed  ## measure what a fleet carries (5 minutes)
	$(BIN)/python benches/load.py

bench-playground: $(VENV)/.bench  ## measure the round trip of the playground's audio in a browser (21 minutes)
	$(BIN)/python benches/playground.py

bench-session: $(VENV)/.installed  ## measure what a session costs (7 minutes)
	$(BIN)/python benches/session.py

bench-barge-in: $(VENV)/.installed  ## measure turn-taking end to end (30 minutes)
	@$(MAKE) --no-print-directory $(VENVP)/.installed || \
	  echo "Vision-Agents cannot be installed: its rows will be left out" >&2
	$(BIN)/python benches/barge_in.py

bench-video: $(VENV)/.bench  ## measure what video costs (6 minutes)
	$(BIN)/python benches/video.py

trial-fleet: $(VENV)/.ray  ## break a fleet on Ray while people talk to it (15 minutes); Linux
	$(BIN)/python -m trials.fleet

docs: $(VENVD)/.docs  ## build the documentation site, offline; results in site/
	NO_MKDOCS_2_WARNING=1 $(VENVD)/bin/mkdocs build --strict --quiet

develop: $(VENV)/.installed  ## build and install the wheel into .venv (`pip install -e .` works too, see CONTRIBUTING.md)

clean:  ## remove everything that was built
	rm -rf $(VENV) $(VENV6) $(VENVD) $(VENVP) dist target demo-out site

# Below, an empty file stands for each step that is done.

$(VENV)/.pip $(VENV6)/.pip $(VENVD)/.pip $(VENVP)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	  "CPython 3.10 or later is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	touch $@

$(VENV)/.build: pyproject.toml | $(VENV)/.pip
	$(BIN)/python -m pip install --quiet --group build
	touch $@

dist/.built: $(SOURCE) | $(VENV)/.build
	rm -rf dist && mkdir dist
	$(BIN)/maturin build --release --locked --quiet --interpreter $(BIN)/python --out dist
	touch $@

# First with what it depends on; then again, because pip leaves a wheel of the same version alone.
$(VENV)/.installed: dist/.built
	$(BIN)/python -m pip install --quiet $(WHEEL)
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group test
	$(BIN)/python -m pip install --quiet --only-binary ray --group test-ray || \
	  echo "Ray has no wheel for this machine: fleets on Ray are not tested" >&2
	touch $@

$(VENV)/.bench: pyproject.toml | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m pip install --quiet --no-deps "silero-vad>=6"  # with its dependencies comes torch
	touch $@

$(VENV)/.ray: pyproject.toml | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "$$(echo dist/*.whl)[ray]"
	touch $@

$(VENV)/.workflows: pyproject.toml | $(VENV)/.pip
	$(BIN)/python -m pip install --quiet --group workflows
	touch $@

# mypy reads the sources, and the types of what they depend on.
$(VENV)/.lint: pyproject.toml | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group lint
	touch $@

# The site reads the sources, and needs neither the wheel nor the SDKs.
$(VENVD)/.docs: pyproject.toml | $(VENVD)/.pip
	$(VENVD)/bin/python -m pip install --quiet --group docs
	touch $@

# The same wheel beside the older Stream SDK, whose connections have another shape.
$(VENV6)/.installed: dist/.built | $(VENV6)/.pip
	$(VENV6)/bin/python -m pip install --quiet "getstream[webrtc]==6.1.1" $(WHEEL)
	$(VENV6)/bin/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	touch $@

# The peer of the turn-taking benchmark, on the SDKs that it asks for.
$(VENVP)/.installed: | $(VENVP)/.pip
	$(VENVP)/bin/python -m pip install --quiet vision-agents==0.6.9 \
	  vision-agents-plugins-gemini==0.6.9 vision-agents-plugins-getstream==0.6.9
	touch $@
