# Two commands on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
BIN := .venv/bin
JOBS ?= 3
SETUP = $(PYTHON) deploy/setup/setup.py $(if $(ENGINE),--engine $(ENGINE))

# Nothing is fetched from a hub while Ratchet runs, and nothing is reported to anyone.
export HF_HUB_OFFLINE := 1
export DO_NOT_TRACK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test up setup setup-test check format lock docs bench-canary bench-console bench-curation bench-drift bench-gateway bench-log bench-train clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup  ## turn the whole loop with simulated users, drift included (10 to 30 minutes on 2 cores)
	$(BIN)/ratchet demo

test: setup-test  ## run all tests, on the real engine and model too; JOBS=1 one after another
	$(BIN)/python -m pytest --cov --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

up: setup  ## start the service and keep it running until Ctrl-C
	$(BIN)/ratchet init assistant
	$(BIN)/ratchet up

setup: python  ## create .venv and the model; ENGINE=gpu takes vLLM's CUDA build
	@$(SETUP)

setup-test: python  ## the same, with what tests and checks need
	@$(SETUP) --test

check: setup-test  ## static checks: ruff, formatting, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python --threads 2
	$(BIN)/lint-imports

format: setup-test  ## let ruff mend and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: python  ## write deploy/requirements anew; UPGRADE=1 takes newer versions
	$(PYTHON) deploy/setup/lock.py $(if $(UPGRADE),--upgrade)

docs: setup  ## write docs/reference/settings.md from core/settings.py
	$(BIN)/python docs/reference/settings_page.py

bench-console: setup-test  ## how long the console's pages take with a million interactions
	$(BIN)/python -m bench.console $(if $(QUICK),--quick)

bench-canary: setup-test  ## how often a canary that is watched all the time is decided wrongly, simulated
	$(BIN)/python -m bench.canary $(if $(QUICK),--quick)

bench-gateway: setup  ## what the gateway costs, beside LiteLLM and vllm-router (about 8 minutes)
	$(BIN)/python -m bench.gateway $(if $(QUICK),--quick)

bench-curation: setup-test  ## what curation costs and finds, up to a million interactions
	$(BIN)/python -m bench.curation $(if $(QUICK),--quick)

bench-log: setup-test  ## what the event log costs and holds, on a real broker and PostgreSQL
	$(BIN)/python -m bench.log $(if $(QUICK),--quick)

bench-drift: setup-test  ## false alarms and delays of drift checks, beside Evidently's defaults
	$(BIN)/python -m bench.drift $(if $(QUICK),--quick)

bench-train: setup-test  ## what a training costs beside a plain TRL script, and what the gate's answers cost
	$(BIN)/python -m bench.train $(if $(QUICK),--quick)

clean:  ## remove .venv, caches and builds; keeps .ratchet, models and demo
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: python
python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Ratchet needs Python 3.11, and $(PYTHON) is not on the path."; \
	  echo "Install it (Debian: apt-get install python3.11 python3.11-venv)"; \
	  echo "or name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
