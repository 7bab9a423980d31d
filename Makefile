# make demo   install, price the paper's net, segment a sample image (IMAGE=photo.jpg MODEL=lmnet_xs for your own)
# make test   install, run the default tests
# make test-lowest  the default tests with the lowest versions that pyproject.toml allows (.venv-lowest)
# make test-ray  install with Ray, search on a cluster of two nodes on this machine
# make check  install, format, lint, types
# make docs   install, write docs/blocks.md and docs/zoo.md, build the site into site/ (strict: a broken link fails)
# make site   install, build the site alone
# make serve  install, show the documentation at http://127.0.0.1:8000
# make notebook  install, run examples/tour.ipynb and keep its output
# make bench  install with the extras, write benchmarks/RESULTS.md (BENCH='-- --threads 1 --clock cpu' on a busy machine)
# make bench-check  speed ratios against floors with slack (BENCH='--threads 1 --clock cpu')
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED = $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
comma := ,
IMAGE ?= examples/synthetic_lesion.png
MODEL ?= lmnet_xxs@synthetic
BENCH ?=
EXTRAS ?= dev
MARKERS ?= not slow and not gpu and not postgres and not integration and not ray and not browser

.PHONY: install demo test test-lowest test-ray test-slow check docs site serve notebook bench bench-check format clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/lmnet-build zoo/lmnet_paper.yaml
	$(BIN)/lmnet-predict $(MODEL) $(IMAGE) --out demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m '$(MARKERS)'

test-lowest:
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	$(PYTHON) .ci/lowest.py dev > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-lowest/lowest.txt --editable '.[dev]'
	.venv-lowest/bin/python -m pytest -n 2 -W default -m '$(MARKERS)'

test-ray:
	$(MAKE) install EXTRAS=dev,ray
	$(BIN)/python -m pytest -m ray tests/search

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 -m slow

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python docs/make_blocks.py
	$(BIN)/python docs/make_zoo.py
	$(BIN)/python docs/make_field.py
	$(BIN)/lmnet-build lmnet_paper --graph docs/lmnet_paper.svg --validate
	$(MAKE) site

site: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

serve: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

notebook: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[notebook]'
	$(BIN)/python -m nbconvert --to notebook --execute --inplace examples/tour.ipynb

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,openvino,integration]'
	$(BIN)/python benchmarks/results.py $(BENCH)

bench-check: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,openvino]'
	$(BIN)/python benchmarks/check.py $(BENCH)

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info
