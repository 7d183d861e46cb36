# make install | demo | test | test-fast | test-downstream | lint
#
#   make test PYTHON=python3.12                       the Python of the environment
#   make test PIP_OPTIONS="--index-url https://..."   a mirror; --extra-index-url for CPU-only builds
#   make test STACK=original                          OpenMMLab's own releases, in .venv-original

PYTHON ?= python3
PIP_OPTIONS ?=
STACK ?= maintained
# The stacks overwrite each other's files, so each has its environment.
VENV ?= .venv$(if $(filter maintained,$(STACK)),,-$(STACK))
override DEMO = work_dirs/demo

INSTALLED = $(VENV)/installed-$(STACK)
RUN = $(VENV)/bin/python

.PHONY: install demo test test-fast test-downstream lint

install: $(INSTALLED)

$(INSTALLED): setup.py pyproject.toml mmconvnext/version.py
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install $(PIP_OPTIONS) --upgrade pip
	$(RUN) -m pip install $(PIP_OPTIONS) --editable '.[$(STACK),dev]'
	touch $@

demo: install
	rm -rf $(DEMO)
	$(RUN) tools/train.py configs/digits/convnext-atto_1xb48_digits.py --work-dir $(DEMO)
	$(RUN) tools/plot_predictions.py configs/digits/convnext-atto_1xb48_digits.py $(DEMO)/epoch_12.pth $(DEMO)/predictions.png
	$(RUN) tools/plot_run.py $(DEMO) --out $(DEMO)/curves.png
	$(RUN) tools/test.py configs/digits/convnext-atto_1xb48_digits.py $(DEMO)/epoch_12.pth --work-dir $(DEMO)/test
	@echo "Pictures: $(DEMO)/predictions.png and $(DEMO)/curves.png"

test: install
	$(RUN) -m pytest -n auto

test-fast: install
	$(RUN) -m pytest -n auto -m "not slow"

# With MMDetection, MMSegmentation and the operators they need, in an environment of their own.
DOWNSTREAM = .venv-downstream
test-downstream: $(DOWNSTREAM)/installed
	$(DOWNSTREAM)/bin/python -m pytest -n auto tests/test_downstream

$(DOWNSTREAM)/installed: setup.py tools/compile_mmcv.sh mmconvnext/version.py
	test -x $(DOWNSTREAM)/bin/python || $(PYTHON) -m venv $(DOWNSTREAM)
	$(DOWNSTREAM)/bin/python -m pip install $(PIP_OPTIONS) --upgrade pip
	$(DOWNSTREAM)/bin/python -m pip install $(PIP_OPTIONS) --editable '.[detection,segmentation,test]'
	PIP_OPTIONS="$(PIP_OPTIONS)" tools/compile_mmcv.sh $(DOWNSTREAM)/bin/python
	touch $@

lint: install
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
