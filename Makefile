# Everything a developer runs. Needs Python 3.11+ and make; the tests also need a JDK (17+), Maven (3.8+), Go, Node, and
# RabbitMQ, Prometheus, Chromium and kcat or Debian's apt to fetch them with. With a C compiler frames take less CPU.

PYTHON ?= python3
# More options for the lock files, e.g. make lock LOCK=--upgrade
LOCK ?=

BIN := .venv/bin
STAMP := .venv/installed
NODE := .cache/asyncapi/installed
AXE := .cache/axe/installed
JAVA := .cache/java-example/built
CODE := bridge native/hook.py docs/pages.py tests bench helm/values_schema.py ops/dashboard.py examples/gateway/tally_feed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install servers tools demo docs test check format bench chart soak lock clean

help: ## this text
	@sed -n "s/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p" $(MAKEFILE_LIST) | expand -t 18

install: $(STAMP) ## the virtual environment .venv with feedbridge (editable) and all tools

$(STAMP): requirements/dev.txt pyproject.toml $(wildcard native/*.*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing into .venv …"
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'from bridge import native; native.absent and print("Frames will take 1.7 times the CPU:", native.absent)'
	@touch $@

servers: ## Kafka, Apicurio Registry, RabbitMQ, Prometheus and kcat for the tests, into .cache
	@$(PYTHON) tests/servers/fetch.py

demo: install ## live records in a moment, no set-up: simulated gateways, a stand-in broker, the bridge
	@$(BIN)/feedbridge demo

docs: install ## the documentation as a site, into .cache/site: open index.html there, or serve it
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "To read it, with search: $(PYTHON) -m http.server --directory .cache/site 8000"

test: ## all tests: unit tests, the chart, the model, those on a real Kafka, a real registry and in a real browser, then kills and outages
	@$(MAKE) --no-print-directory -j2 install servers tools
	@$(BIN)/python -m pytest tests/model tests/helm tests/unit -n 2
	@$(BIN)/python -m pytest tests/kafka tests/browser -n 3 --dist loadscope
	@$(BIN)/python -m pytest tests/chaos -n 2 --dist loadscope

check: install ## formatting, lint, types, spelling, and that no schema breaks with a released version of it
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict $(CODE)
	@$(BIN)/codespell
	@$(BIN)/python -m bridge.history check

format: install ## format the code, mend what lint can mend, make what is generated anew
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .
	@$(BIN)/python ops/dashboard.py
	@$(BIN)/python helm/values_schema.py
	@$(BIN)/python -m bridge.classes
	@$(BIN)/python -m bridge.handbook
	@$(BIN)/python -m tests.helm.tools docs

bench: install servers ## throughput, CPU, latency and memory, against a bare loop of the same components; layouts and headers
	@$(BIN)/python -m bench

tools: $(NODE) $(AXE) $(JAVA) ## what tests judge with, into .cache: helm, helm-docs, promtool, Chromium, axe, the AsyncAPI parser, the Java example
	@$(PYTHON) -m tests.helm.tools fetch
	@$(PYTHON) tests/servers/fetch.py fetch prometheus chromium

$(NODE): tests/asyncapi/package-lock.json
	@mkdir -p $(@D)
	@cp tests/asyncapi/package.json tests/asyncapi/package-lock.json tests/asyncapi/validate.js $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(AXE): tests/browser/package-lock.json
	@mkdir -p $(@D)
	@cp tests/browser/package.json tests/browser/package-lock.json $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(JAVA): examples/java/pom.xml $(wildcard examples/java/src/main/java/*.java)
	@mkdir -p $(@D)
	@cp -r examples/java/pom.xml examples/java/src $(@D)
	@mvn -q -B -f $(@D)/pom.xml package
	@touch $@

chart: install tools ## lint, render and judge the Helm chart and the image, offline once installed
	@$(BIN)/python -m pytest tests/helm -n 2

soak: install servers tools ## the tests in their full form: hours
	@$(BIN)/python -m pytest tests/unit tests/model tests/kafka tests/browser tests/chaos --soak

lock: install ## requirements/*.txt from pyproject.toml (LOCK=--upgrade: the newest versions)
	@$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(LOCK) pyproject.toml --extra otlp --output-file requirements/run.txt
	@$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(LOCK) pyproject.toml --group dev --extra otlp --constraint requirements/run.txt --output-file requirements/dev.txt
	@echo 'hatchling>=1.27' | $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(LOCK) - --constraint requirements/dev.txt --output-file requirements/build.txt

clean: ## remove all that make has made: .venv, .cache, dist
	@test ! -x $(BIN)/python || test ! -d .cache/run || $(BIN)/python -m tests.servers down
	rm -rf .venv .cache .hypothesis dist bridge/_native*.so
	find bridge tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
