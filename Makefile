# Each target sets up what it needs, once, in this folder (scripts/setup.py); none needs root.
.DEFAULT_GOAL := help
.PHONY: help setup train test rehearse lint clean

PYTHON ?= python3
# The CDK library would fill the screen with Node 20's end of life at every synthesis.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION ?= 20
VENV := .venv/bin
# A third of the tests' time is waiting for processes that they have started: three at a time keep two cores busy.
TESTERS ?= 3

help: ## what can be made
	@sed -n 's/^\([a-z]*\): .*## /  make \1	/p' Makefile

setup: ## Python environments and the CDK command (the other targets do this too)
	@command -v $(PYTHON) >/dev/null || { echo "setup: no $(PYTHON) on PATH. Install Python 3.11 or newer." >&2; exit 2; }
	@$(PYTHON) scripts/setup.py

train: setup ## train the digits example on a local AWS: plan, deploy, train, report, destroy
	@$(VENV)/python scripts/train.py

test: setup ## all tests
	@$(VENV)/python -m pytest -n $(TESTERS) --dist worksteal --durations 25

rehearse: setup ## build the workers' image without Docker and train a segment in it
	@$(VENV)/funcpipe plan examples/digits/job.toml -o build/digits/manifest.json
	@$(VENV)/python -m rehearsal build/digits/manifest.json --tests

lint: setup ## ruff's rules and layout
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .

clean: setup-stopped ## stop the local AWS and remove everything that was made
	rm -rf .venv .venv-emulator node_modules build cdk.out .funcpipe .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-stopped
setup-stopped:
	@if [ -x $(VENV)/funcpipe ]; then $(VENV)/funcpipe local down >/dev/null; fi
