# The environment .venv holds the versions of requirements.lock. It is made when it is missing, and brought up to date
# when requirements.lock or pyproject.toml is newer.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint docs chaos

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(READY)  ## from photographs to a report, on the corpus that ships; about eight minutes on two cores
	@$(BIN)/twfer run package:recipes/demo.yaml

test: lint  ## lint, then the tests, on real Ray and real MLflow
	@$(BIN)/python -m pytest -m "not long" -n 2

test-all: test  ## the same and the long tier: kills, S3, job submission, benchmarks, the wheel
	@$(BIN)/python -m pytest -m long

lint: $(READY)  ## ruff and mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --num-workers auto

docs: $(READY)  ## write the generated pages of docs/, and bring the catalogs of other languages up to date
	@$(BIN)/python docs/generate.py

chaos: $(READY)  ## runs killed at twenty random points of each kind, a thousand damaged files; minutes
	@$(BIN)/python jobs/measure/chaos.py

$(READY): requirements.lock pyproject.toml
	@command -v "$(PYTHON)" >/dev/null \
	  || { echo "There is no '$(PYTHON)' here: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$$("$(PYTHON)" --version) is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$$("$(PYTHON)" --version) has no venv module: install it, on Debian and Ubuntu with: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@echo "Installing the packages of requirements.lock into .venv: 5 GB the first time, some minutes."
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -c 'import cv2' || { \
	  echo "OpenCV lacks a system library (named above): apt-get install libgl1 libglib2.0-0 (Debian, Ubuntu)," \
	    "or dnf install mesa-libGL glib2 (Fedora, RHEL), and run make again."; exit 1; }
	@touch $(READY)
