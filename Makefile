# make install | demo | test | test-fast | test-downstream | lint | docs | constraints
#
#   make test PYTHON=python3.12                       the Python of the environment
#   make test PIP_OPTIONS="--index-url https://..."   a mirror; --extra-index-url for CPU-only builds
#   make test STACK=original                          OpenMMLab's own releases, in .venv-original
#   make test TESTS=tests/test_models                 a part of the tests
#   make install CONSTRAINTS=                         the newest versions instead of those that were tested

PYTHON ?= python3
PIP_OPTIONS ?=
STACK ?= maintained
TESTS ?= tests
# The stacks overwrite each other's files, so each has its own environment.
VENV ?= .venv$(if $(filter maintained,$(STACK)),,-$(STACK))
# The versions that the tests passed with, for the Python versions they ran on.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
known_good = $(wildcard .ci/constraints/$(1)-$(PYTHON_VERSION).txt)
CONSTRAINTS ?= $(call known_good,$(STACK))
PIP_INSTALL = -m pip install $(PIP_OPTIONS) $(addprefix --constraint ,$(CONSTRAINTS))
override DEMO = work_dirs/demo

INSTALLED = $(VENV)/installed-$(STACK)
# Marks an environment that also has what the tests need.
TESTABLE = $(VENV)/testable-$(STACK)
EXTRAS = $(STACK),dev$(if $(filter maintained,$(STACK)),$(FOR_MAINTAINED))
FOR_MAINTAINED = ,app,docs,export
RUN = $(VENV)/bin/python

.PHONY: install demo test test-fast test-downstream lint docs constraints

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml mmconvnext/version.py
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install $(PIP_OPTIONS) --upgrade pip
	$(RUN) $(PIP_INSTALL) --editable '.[$(STACK)]'
	touch $@

$(TESTABLE): $(INSTALLED)
	$(RUN) $(PIP_INSTALL) --editable '.[$(EXTRAS)]'
	touch $@

demo: install
	rm -rf $(DEMO)
	$(RUN) tools/train.py configs/digits/convnext-atto_1xb48_digits.py --work-dir $(DEMO)
	$(RUN) tools/plot_predictions.py configs/digits/convnext-atto_1xb48_digits.py $(DEMO)/epoch_12.pth $(DEMO)/predictions.png
	$(RUN) tools/plot_run.py $(DEMO) --out $(DEMO)/curves.png
	$(RUN) tools/test.py configs/digits/convnext-atto_1xb48_digits.py $(DEMO)/epoch_12.pth --work-dir $(DEMO)/test
	@echo "Pictures: $(DEMO)/predictions.png and $(DEMO)/curves.png"

test: $(TESTABLE)
	$(RUN) -m pytest -n auto --dist worksteal $(TESTS)

test-fast: $(TESTABLE)
	$(RUN) -m pytest -n auto --dist worksteal -m "not slow" $(TESTS)

# Tests with MMDetection, MMSegmentation and their operators, in a separate environment.
DOWNSTREAM = .venv-downstream
test-downstream: $(DOWNSTREAM)/installed
	$(DOWNSTREAM)/bin/python -m pytest -n auto --dist worksteal tests/test_downstream

$(DOWNSTREAM)/installed: STACK = downstream
$(DOWNSTREAM)/installed: setup.py tools/compile_mmcv.sh mmconvnext/version.py
	test -x $(DOWNSTREAM)/bin/python || $(PYTHON) -m venv $(DOWNSTREAM)
	$(DOWNSTREAM)/bin/python -m pip install $(PIP_OPTIONS) --upgrade pip
	$(DOWNSTREAM)/bin/python $(PIP_INSTALL) --editable '.[detection,segmentation,test]'
	PIP_OPTIONS="$(PIP_OPTIONS)" tools/compile_mmcv.sh $(DOWNSTREAM)/bin/python
	touch $@

lint: $(TESTABLE)
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(VENV)/bin/lint-imports

# Build the site: docs/_build/html/index.html.
docs: $(TESTABLE)
	$(RUN) -m sphinx --fail-on-warning --keep-going docs docs/_build/html

# Record the installed versions as constraints for later installations.
FREEZE = -m pip list --format=freeze --exclude-editable
constraints: $(TESTABLE) $(DOWNSTREAM)/installed
	for name in $(STACK):$(VENV) downstream:$(DOWNSTREAM); do \
	    { echo '# Written by make constraints.'; $${name#*:}/bin/python $(FREEZE) \
	    | grep -vE '^(pip|setuptools|wheel|nvidia-.*|cuda-.*|triton)==' | sed 's/+[a-z0-9.]*$$//'; } \
	    > .ci/constraints/$${name%:*}-$(PYTHON_VERSION).txt; done
