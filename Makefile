# The commands of users and contributors. Each does its own set-up: required are make, Python 3.11+
# and a package index. ARGS passes arguments on: make serve ARGS='--help'

PYTHON ?= python3
UV ?= uv
ARGS ?=
# What .ci/run gives to pytest: a test that fails is run once more, and named (decision 0040).
RERUNS ?=

BIN := .venv/bin
LOWEST := .venv/lowest/bin
SITE := .venv/site/bin
INSTALL := python -m pip --quiet --disable-pip-version-check --no-input install
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
INSTALL_SELF := $(PIP) install --no-build-isolation --no-deps -e .
# Extras stay in the names: pip does not take a pin of `coverage` for one of `coverage[toml]`.
COMPILE := $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-strip-extras --custom-compile-command 'make lock'
PYTEST := $(BIN)/python -m pytest $(RERUNS) -n auto --dist worksteal
FAST := --ignore=tests/system --ignore=tests/clients --ignore=tests/containers --ignore=tests/package tests
PURE := src/openimds/facts/*,src/openimds/vm/*,src/openimds/protocol/*,src/openimds/dataplane/*,src/openimds/fleet/index.py,src/openimds/fleet/vm_entry.py,src/openimds/fleet/response_cache.py,src/openimds/interop/importers/*,src/openimds/interop/transcript/*,src/openimds/interop/compare/*
IMAGE := $(shell find src packaging/container -type f -not -name '*.pyc') pyproject.toml requirements-packages.lock \
	packaging/description.md LICENSE NOTICE scripts/build_image.py scripts/build_steps.py scripts/bundled_packages.py \
	scripts/foreign_root.py scripts/image_archives.py scripts/image_sbom.py

.DEFAULT_GOAL := check
.DELETE_ON_ERROR:
.PHONY: help setup serve dist pyz deb rpm site screenshots release release-check manifests image test test-system test-package \
	test-lowest test-pythons cover quick-clients clients containers test-all soak check format docs \
	resolutions goldens lock bench fuzz clean

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: .venv/.runtime-stamp ## Install the service and pytest for its plugin into .venv

serve: .venv/.runtime-stamp ## Run the service
	@$(BIN)/openimds serve $(ARGS)

dist: .venv/.dev-stamp ## Build the wheel and the source distribution in dist/
	@$(BIN)/python -m hatchling build --directory dist

pyz: .venv/.dev-stamp ## Build one file in dist/ that runs on this platform and this Python
	@rm -rf build/wheel
	@$(BIN)/python -m hatchling build --target wheel --directory build/wheel >/dev/null
	@$(BIN)/python scripts/build_pyz.py build/wheel/*.whl dist

deb: .venv/.runtime-stamp ## Make the package for Debian 12 in dist/ (ARGS='--architecture arm64')
	@$(BIN)/python scripts/build_deb.py build/deb $(ARGS)

rpm: .venv/.runtime-stamp ## Make the package for Enterprise Linux 9 in dist/ (ARGS='--architecture arm64')
	@$(BIN)/python scripts/build_rpm.py build/rpm $(ARGS)

site: .venv/.site-stamp ## Make a site of the documents in build/site/html
	@$(SITE)/python scripts/build_site.py

screenshots: .venv/.dev-stamp ## Take the pictures of docs/use/page.md anew (needs Debian's Chromium)
	@scripts/host-tools browser
	@$(BIN)/python -m tests.system.browser.screenshots docs/use/page

release: .venv/.dev-stamp ## Build the files of a release in dist/; KEY=FILE signs them by an SSH key
	@$(BIN)/python -m scripts.release build $(KEY)

release-check: .venv/.dev-stamp ## Say what a release of this commit still lacks
	@$(BIN)/python -m scripts.release check

manifests: .venv/.dev-stamp ## Write the plain manifests of Kubernetes from the chart
	@$(BIN)/python -m tests.package.kits
	@$(BIN)/python scripts/kubernetes_manifests.py .venv/clients/helm/helm

image: ## Make the container image in dist/, as root (ARGS='--architecture arm64': that one, too)
	@scripts/container-tools
	@$(MAKE) --no-print-directory build/image/stamp
ifdef ARGS
	@$(BIN)/python scripts/build_image.py rootfs build/image $(ARGS)
	@scripts/private-engine $(BIN)/python scripts/build_image.py image build/image $(ARGS)
endif

# Module fixtures start servers, so a worker keeps the tests of a module while it can.
test: .venv/.dev-stamp ## Run the tests that judge the code at hand; ARGS chooses some of them
	@scripts/host-tools
	$(PYTEST) $(if $(ARGS),$(ARGS),$(FAST))

test-system: .venv/.dev-stamp ## Run the tests of real processes, namespaces, terminals and a browser
	@scripts/host-tools browser
	$(PYTEST) $(if $(ARGS),$(ARGS),tests/system)

test-package: .venv/.dev-stamp ## Build, install and resolve the packages as users do (needs a package index)
	@scripts/host-tools package
	@$(BIN)/python -m tests.package.kits
	$(BIN)/python -m pytest $(RERUNS) $(or $(ARGS),tests/package)

# The contracts of imports are about this repository, and their tool needs a newer rich.
test-lowest: .venv/.lowest-stamp ## Run the tests with the oldest dependencies, in .venv/lowest
	@scripts/host-tools
	$(LOWEST)/python -m pytest $(RERUNS) -n auto --dist worksteal --ignore=tests/unit/test_import_contracts.py \
		$(or $(ARGS),tests/unit tests/contract tests/plugin)

test-pythons: ## Run the fast tests with each Python from 3.11 to 3.14 that is here, in build/
	@scripts/test-pythons $(ARGS)

# The cover of the pure rooms is judged over all fast tests, so ARGS cannot choose some.
cover: .venv/.dev-stamp ## Run the fast tests under coverage; the pure rooms need all branches
	@scripts/host-tools
	$(PYTEST) --cov=openimds --cov-report= tests/unit tests/contract tests/property tests/golden
	$(BIN)/python -m coverage report --include='$(PURE)' --fail-under=100

quick-clients: .venv/.dev-stamp ## Run the clients that need no build
	@$(BIN)/python -m tests.clients.kits
	$(BIN)/python -m pytest $(RERUNS) -n auto --dist loadfile tests/clients

clients: .venv/.dev-stamp ## Run every client of other authors, and print a table of results
	@$(BIN)/python -m tests.clients $(ARGS)

# It ends with everything that it started, for the engine is in namespaces of its own.
ifeq ($(CONTAINERS),skip)
containers:
	@echo 'Containers are not tested: CONTAINERS=skip'
else
containers: .venv/.dev-stamp ## Run the image, Compose, Testcontainers (CONTAINERS=skip: nothing)
	@scripts/container-tools emulator
	@scripts/host-tools
	@$(MAKE) --no-print-directory build/image/stamp
	@$(BIN)/python -m tests.containers.kits
	scripts/private-engine $(BIN)/python -m pytest $(RERUNS) $(or $(ARGS),tests/containers)
endif

test-all: ## Run everything but long campaigns: test, test-*, cover, quick-clients, containers
	$(MAKE) test
	$(MAKE) test-system
	$(MAKE) test-package
	$(MAKE) test-lowest
	$(MAKE) cover
	$(MAKE) quick-clients
	$(MAKE) containers

soak: .venv/.dev-stamp ## Run the long campaigns: sudden ends, bad disks, generated requests
	OPENIMDS_CRASH_ROUNDS=200 OPENIMDS_CUT_ROUNDS=500 OPENIMDS_DISK_ROUNDS=200 \
		OPENIMDS_SCHEMA_EXAMPLES=300 OPENIMDS_FLEET_KILLS=100 OPENIMDS_HOSTS_EXAMPLES=2000 \
		$(BIN)/python -m pytest -n auto -rP --timeout=3000 --hypothesis-profile=soak \
		tests/system/test_crash.py tests/system/test_damage.py tests/unit/server/test_damaged_rows.py \
		tests/system/test_admin.py tests/system/test_fleet_of_hosts.py tests/property tests/contract

check: .venv/.dev-stamp ## Check format, lint, types, import contracts and words
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python scripts/check_platforms.py
	$(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/check_words.py

format: .venv/.dev-stamp ## Format the code and apply automatic fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.dev-stamp ## Regenerate pages and tables
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python -m tests.clients.roster

resolutions: .venv/.dev-stamp ## Rewrite the table of docs/know/compat.md (needs a package index)
	$(BIN)/python -m tests.package.resolutions

goldens: .venv/.dev-stamp ## Write the golden files from the tables in tests/golden
	$(BIN)/python -m tests.golden.make

bench: .venv/.dev-stamp ## Measure against nginx (needs nginx and wrk)
	@scripts/bench-tools
	$(BIN)/python -m bench $(ARGS)

fuzz: .venv/.fuzz-stamp ## Send broken requests to the parser for a minute
	@mkdir -p fuzz/found
	$(BIN)/python -m fuzz -max_total_time=60 fuzz/found fuzz/corpus

lock: ## Resolve all dependencies anew (needs uv)
	$(COMPILE) --output-file requirements.lock --group build --extra test pyproject.toml
	$(COMPILE) --output-file requirements-dev.lock --constraint requirements.lock \
		--group build --group dev pyproject.toml
	$(COMPILE) --output-file requirements-pyz.lock --constraint requirements-dev.lock \
		--extra entra pyproject.toml
	$(COMPILE) --output-file requirements-packages.lock --constraint requirements-dev.lock \
		--extra entra --extra postgres --no-emit-package psycopg-binary pyproject.toml
	$(COMPILE) --output-file requirements-lowest.lock --resolution lowest-direct --only-binary :all: \
		--extra entra --extra postgres --extra test --group lowest pyproject.toml
	$(COMPILE) --output-file requirements-fuzz.lock --group fuzz
	$(COMPILE) --output-file requirements-clients.lock --group clients
	$(COMPILE) --output-file requirements-containers.lock --group containers
	$(COMPILE) --output-file requirements-kubernetes.lock --group kubernetes
	$(COMPILE) --output-file requirements-site.lock --constraint requirements-dev.lock \
		--group build --group site pyproject.toml

clean: ## Remove .venv, caches and build output
	rm -rf .venv .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache \
		build dist htmlcov
	find src tests bench fuzz scripts -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true


# Set-up of the commands. Messages go to stderr: stdout belongs to `openimds serve`.

.venv/bin/pip:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	@echo 'Making .venv' >&2
	@$(PYTHON) -m venv .venv

# The oldest versions have wheels for Python 3.11 alone.
.venv/.lowest-stamp: pyproject.toml requirements-lowest.lock | .venv/bin/pip
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo 'make test-lowest needs Python 3.11: the oldest versions have no wheels for others.' \
			'Type: make clean, then make test-lowest PYTHON=python3.11' >&2; exit 1; }
	@echo 'Installing requirements-lowest.lock' >&2
	@rm -rf .venv/lowest && $(BIN)/python -m venv .venv/lowest
	@$(LOWEST)/$(INSTALL) --only-binary :all: --require-hashes -r requirements-lowest.lock
	@$(LOWEST)/$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

.venv/.site-stamp: pyproject.toml requirements-site.lock | .venv/bin/pip
	@echo 'Installing requirements-site.lock' >&2
	@rm -rf .venv/site && $(BIN)/python -m venv .venv/site
	@$(SITE)/$(INSTALL) --require-hashes -r requirements-site.lock
	@$(SITE)/$(INSTALL) --no-build-isolation --no-deps -e .
	@touch $@

.venv/.runtime-stamp: pyproject.toml requirements.lock | .venv/bin/pip
	@echo 'Installing requirements.lock' >&2
	@$(PIP) install --require-hashes -r requirements.lock
	@$(INSTALL_SELF)
	@touch $@

# The development lock contains the runtime lock, so one installation serves both.
.venv/.dev-stamp: pyproject.toml requirements.lock requirements-dev.lock | .venv/bin/pip
	@echo 'Installing requirements-dev.lock' >&2
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(INSTALL_SELF)
	@touch .venv/.runtime-stamp $@

build/image/stamp: $(IMAGE) | .venv/.runtime-stamp
	@echo 'Making the image' >&2
	@$(BIN)/python scripts/build_image.py rootfs build/image
	@scripts/private-engine $(BIN)/python scripts/build_image.py image build/image
	@touch $@

.venv/.fuzz-stamp: requirements-fuzz.lock .venv/.dev-stamp
	@echo 'Installing requirements-fuzz.lock' >&2
	@$(PIP) install --only-binary :all: --require-hashes -r requirements-fuzz.lock || { \
		echo 'make fuzz needs atheris, which has wheels for CPython 3.11-3.14 on Linux x86-64.' \
			'Type: make clean, then make fuzz PYTHON=python3.12' >&2; exit 1; }
	@touch $@

define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit('OpenIMDS needs Python 3.11 or newer, and $(PYTHON) is %d.%d. Type: make PYTHON=python3.11 $(MAKECMDGOALS)' % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit('$(PYTHON) cannot make a virtual environment. On Debian or Ubuntu type: apt-get install python%d.%d-venv' % sys.version_info[:2])
endef
export CHECK_PYTHON
