# `make demo` and `make test` set everything up by themselves, on a fresh machine too.
#
# PYTHON   the interpreter to make the virtual environment with
# TORCH    what to install of torch. It is pinned, and installed before everything else, because a plain `torch` asks
#          for the newest build, which on Linux brings gigabytes of CUDA along
# PYTEST   further options of pytest, for example PYTEST=--complete, which fails if a test must be left out
# BENCH    themes and options of `python -m benchmarks`, for example BENCH="reading --keep"

PYTHON ?= python3
TORCH ?= torch==2.13.0
PYTEST ?=
BENCH ?=

venv := .venv
bin := $(venv)/bin
torch := $(venv)/.torch
ready := $(venv)/.ready
peers := $(venv)/.peers

.PHONY: demo test deep bench format clean

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

bench: $(ready) $(peers)
	$(bin)/python -m benchmarks $(BENCH)

format: $(ready)
	$(bin)/ruff check --fix
	$(bin)/ruff format

clean:
	rm -rf $(venv) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
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
