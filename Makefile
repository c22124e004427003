# `make demo` and `make test` set everything up by themselves, on a fresh machine too.
#
# PYTHON   the interpreter to make the virtual environment with
# TORCH    what to install of torch. It is pinned, and installed before everything else, because a plain `torch` asks
#          for the newest build, which on Linux brings gigabytes of CUDA along
# PYTEST   further options of pytest, for example PYTEST=--complete, which fails if a test must be left out
# PYTHONS  the versions of Python that `make pythons` looks for
# BENCH    themes and options of `python -m benchmarks`, for example BENCH="reading --keep"

PYTHON ?= python3
TORCH ?= torch==2.13.0
PYTEST ?=
PYTHONS ?= 3.10 3.11 3.12 3.13 3.14
BENCH ?=

venv := .venv
bin := $(venv)/bin
torch := $(venv)/.torch
ready := $(venv)/.ready
peers := $(venv)/.peers
site := $(venv)/.site

.PHONY: demo test deep pythons bench docs format clean

demo: $(ready)
	$(bin)/streamwds demo

test: $(ready)
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/pyright --pythonpath $(bin)/python
	$(bin)/pytest -n 2 $(PYTEST)

# the laws, on many times as many random cases
deep: $(ready)
	STREAMWDS_PROFILE=deep $(bin)/pytest -n 2 tests properties $(PYTEST)

# the tests under every Python that is found, each with an environment of its own; PYTEST=properties runs the laws only
pythons:
	@set -e; for version in $(PYTHONS); do \
		found=; for python in python$$version "$$(pyenv root 2>/dev/null)"/versions/$$version.*/bin/python; do \
			if "$$python" -c '' 2>/dev/null; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then missing="$$missing $$version"; continue; fi; \
		$(MAKE) PYTHON="$$found" venv=$(venv)/$$version $(venv)/$$version/.ready; \
		$(venv)/$$version/bin/pytest -n 2 $(PYTEST); \
		ran="$$ran $$version"; \
	done; echo "ran under Python$${ran:- none}; not found:$${missing:- none}"

bench: $(ready) $(peers)
	$(bin)/python -m benchmarks $(BENCH)

# the documentation, into site/; what runs on its pages is run by `make test`
docs: $(ready) $(site)
	NO_MKDOCS_2_WARNING=1 $(bin)/mkdocs build --strict --quiet

format: $(ready)
	$(bin)/ruff check --fix
	$(bin)/ruff format

clean:
	rm -rf $(venv) build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(torch):
	$(PYTHON) -m venv $(venv)
	$(bin)/python -m pip install --quiet "$(TORCH)"
	touch $@

$(ready): pyproject.toml $(torch)
	$(bin)/python -m pip install --quiet --editable '.[torch,test]'
	touch $@

# Peers that only benchmarks want. litdata asks for torchvision, and so for another torch; what we measure needs neither.
$(peers): $(ready)
	$(bin)/python -m pip install --quiet spdl boto3 filelock lightning-utilities obstore requests tifffile
	$(bin)/python -m pip install --quiet --no-deps litdata
	touch $@

$(site): pyproject.toml $(ready)
	$(bin)/python -m pip install --quiet --editable '.[docs]'
	touch $@
