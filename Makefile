.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two of everything: these tests wait for sockets and processes more than they compute.
WORKERS ?= 2

.PHONY: help
help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

.PHONY: run
run: $(STAMP) ## Start the service with the demo project: SQLite, e-mail as .eml files in ./outbox
	@$(BIN)/paperround demo --serve

.PHONY: demo
demo: $(STAMP) ## Show all three channels at work once, on this machine, and stop
	@$(BIN)/paperround demo

.PHONY: test
test: $(STAMP) ## Run the whole suite, on SQLite and on a real PostgreSQL
	$(BIN)/pytest -n $(WORKERS)

.PHONY: check
check: $(STAMP) ## Lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(STAMP) ## Format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

DELIVERIES ?= 10000
.PHONY: bench
bench: $(STAMP) ## Measure rates, CPU, memory and lateness, beside three baselines; half an hour (DELIVERIES=10000 ONLY=sending)
	$(BIN)/python -m tests.benchmarks --deliveries $(DELIVERIES) $(if $(ONLY),--only $(ONLY))

.PHONY: bench-all
bench-all: $(STAMP) ## The same with 100,000 due among 1,000,000, and the like; some hours
	$(BIN)/python -m tests.benchmarks --long --deliveries $(DELIVERIES) $(if $(ONLY),--only $(ONLY))

.PHONY: simulate
simulate: $(STAMP) ## Simulate ever more subscriptions from measured figures, minutes (ARGS="spike growth", ARGS="--measure --write")
	$(BIN)/python -m tests.simulation $(ARGS)

CYCLES ?= 1000
DATABASE ?= sqlite
.PHONY: crash
crash: $(STAMP) ## Kill it a thousand times and count what was lost (CYCLES=1000 DATABASE=sqlite PARTS=kill)
	$(BIN)/python -m tests.crash --cycles $(CYCLES) --database $(DATABASE) $(if $(PARTS),--parts $(PARTS))

.PHONY: recurrence-long
recurrence-long: $(STAMP) ## Hold 100,000 random rules each at 20 moments and more, against plain dateutil (hours)
	$(BIN)/pytest tests/scheduler/test_recurrence_properties.py -n $(WORKERS) --hypothesis-profile=long

.PHONY: chaos
chaos: $(STAMP) ## Kill Celery workers and RabbitMQ again and again, and count what was lost (DELIVERIES=4000)
	$(BIN)/python -m tests.engines.chaos $(DELIVERIES)

REQUESTS ?= 10000
.PHONY: api-fuzz
api-fuzz: $(STAMP) ## Send the API generated requests, and hold its answers against /openapi.json (REQUESTS=10000 DATABASE=sqlite)
	$(BIN)/python -m tests.fuzz --requests $(REQUESTS) --database $(DATABASE)

.PHONY: wheel
wheel: $(STAMP) ## Build the wheel into dist/
	$(BIN)/python -m build --wheel

.PHONY: lock
lock: ## Write constraints.txt anew from the newest versions that pyproject.toml allows
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	(echo '# The versions the tests ran with. After a change: make lock, then make check test.'; \
	 $(BIN)/pip freeze --exclude-editable) > constraints.txt
	touch $(STAMP)

.PHONY: clean
clean: ## Remove what was built; databases and outbox stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed; name one with make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python has no venv here; on Debian: apt-get install python3-venv'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo 'Installing pinned versions into $(VENV) …'
	@PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
