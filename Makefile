# Everything a developer or a user runs. Each target brings what it needs by itself; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
INSTALL := $(PIP) install -c constraints.txt -e clients/python
JS := clients/js/node_modules/.package-lock.json clients/web/node_modules/.package-lock.json
NPM := PATH="$(abspath $(BIN)):$$PATH" npm --no-audit --no-fund --no-update-notifier
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help run serve test conformance setup web train models export bench lint format protos clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.serve ## start server, Envoy and page on http://127.0.0.1:8080/ (ARGS="--page-port 0 --port 0 ..." passes settings)
	@echo "Starting server, Envoy and page; Ctrl-C stops them."
	@echo "Settings: $(BIN)/python -m deploy --help. More: README.md, docs/browser.md"
	@exec $(BIN)/python -m deploy $(ARGS)

serve: $(VENV)/.serve ## start the server alone on 127.0.0.1:50051 (ARGS="--port 0 ..." passes settings)
	@exec $(BIN)/python -m server $(ARGS)

test: $(VENV)/.browser $(JS) ## set up everything that the tests need, and run them (ARGS="tests/unit -k name" picks some)
	$(BIN)/python -m pytest $(ARGS)

conformance: $(VENV)/.all ## try every promise of operation at full size, and print the table of docs/operating.md (half an hour)
	$(BIN)/python -m pytest tests/conformance --whole $(ARGS)

setup: $(VENV)/.browser $(JS) ## make .venv with everything: serving, training, tests, and what the JavaScript client and the page need

web: $(VENV)/.all $(JS) ## build the page into clients/web/dist, which is what ships
	$(NPM) --prefix clients/web run build

train: $(VENV)/.all ## train the digits model (ARGS="--epochs 2 ...")
	$(BIN)/python -m train $(ARGS)

# What made each model that ships, and the two that only teach, digits-gap and digits-large. Each is a run in runs/<name>; an
# interrupted one goes on where it was. Those with a second recipe learn to doubt when they have learned to read.
RECIPE_digits-gap := --seed 0
RECIPE_digits := --extra habits --strangers-share 0.1 --strange-dataset emnist-letters --teacher runs/digits-large/best.pt \
	--teacher runs/digits-gap/best.pt --teachers-weight 0.7 --seed 0
RECIPE_digits-large := --network mixed --epochs 60 --strangers-share 0.1 --strange-dataset emnist-letters --augmentation strong \
	--teacher runs/digits-gap/best.pt --seed 0
RECIPE_digits-robust := --network dense --epochs 100 --extra habits --strangers-share 0.1 --strange-dataset emnist-letters \
	--augmentation grainy --seed 0
RECIPE_hanzi := --dataset hanzi --network vgg --epochs 60 --strangers-share 0.1 --augmentation grainy --seed 0
RECIPE_letters := --dataset emnist-letters --network vgg --epochs 24 --strangers-share 0.1 --augmentation grainy --seed 0
DOUBT_digits := --strange-dataset emnist-letters --seed 0
DOUBT_digits-robust := --strange-dataset emnist-letters --seed 0
DOUBT_letters := --seed 0
SHIPPED := digits digits-robust hanzi letters
DOUBTING := digits digits-robust letters

models: $(SHIPPED:%=runs/%/result.json) $(DOUBTING:%=runs/%/doubt.json) ## train every model that ships and publish it into models/ (hours on two cores)
	@for run in $(SHIPPED); do \
		$(BIN)/python -m export --checkpoint runs/$$run/best.pt --name $$run --force || exit 1; done

runs/digits-large/result.json: runs/digits-gap/result.json
runs/digits/result.json: runs/digits-gap/result.json runs/digits-large/result.json
runs/%/result.json: | $(VENV)/.all
	$(BIN)/python -m train $(if $(wildcard $(@D)/last.pt),--resume $(@D)/last.pt,$(RECIPE_$*) --output $(@D))
runs/%/doubt.json: runs/%/result.json
	$(BIN)/python -m train doubt $(@D)/best.pt $(DOUBT_$*)

export: $(VENV)/.all ## publish a checkpoint: ARGS="--checkpoint runs/.../best.pt"
	$(BIN)/python -m export $(ARGS)

bench: $(VENV)/.all ## measure the server against its ceilings, in one run
	$(BIN)/python -m benchmarks $(ARGS)

lint: $(VENV)/.all ## what CI checks before the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.all ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(VENV)/.all $(JS) ## generate the Python and JavaScript code of the contract, and what Envoy needs to know of it
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=clients/python --pyi_out=clients/python \
		--grpc_python_out=clients/python protos/digitserve/v1/recognizer.proto
	$(BIN)/python -m deploy.descriptor
	$(NPM) --prefix clients/js run generate

clean: ## remove what was made here: .venv, runs, build and caches
	rm -rf $(VENV) clients/*/node_modules clients/js/dist build runs .mypy_cache .ruff_cache .pytest_cache .hypothesis clients/python/*.egg-info *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "digitserve needs Python 3.11 or newer as '$(PYTHON)'; name another with: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.serve: pyproject.toml constraints.txt clients/python/pyproject.toml | $(BIN)/python
	@test -e $(VENV)/.all || echo "Installing what serving needs into $(VENV) (about a minute, once)"
	@$(INSTALL) -e ".[serve]"
	@touch $@

$(VENV)/.all: pyproject.toml constraints.txt clients/python/pyproject.toml | $(BIN)/python
	@echo "Installing what serving, training and the tests need into $(VENV) (some minutes, once; PyTorch is large)"
	@$(INSTALL)[plot] -e ".[serve,otel,train,dev]"
	@touch $@ $(VENV)/.serve

# The page is tested in a real browser. Where none can be had, the tests of the page fail and say what brings one.
$(VENV)/.browser: $(VENV)/.all
	@$(BIN)/python -m tests.browser.chromium || $(BIN)/playwright install chromium || true
	@touch $@

# Node comes with the tests' packages, so that a machine needs none.
clients/%/node_modules/.package-lock.json: clients/%/package-lock.json clients/%/package.json | $(VENV)/.all
	$(NPM) --prefix clients/$* ci
	@touch $@
