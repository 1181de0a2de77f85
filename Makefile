# ssm4rec. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A Python of 3.11 to 3.13; choose another with `make PYTHON=python3.12 ...`.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell $(name) -c '$(SUPPORTED)' 2>/dev/null && echo $(name))))
# An index with CPU builds of torch, where the default one serves CUDA builds (gigabytes). Optional.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Variables that `make run` and `make submit` hand to the study as flags: DATASET=ml-1m becomes --dataset ml-1m.
# Only those given to make itself count: names as plain as FORMAT or OUT may stand in the environment for other reasons.
PARAMETERS := DATASET SOURCE ITEMS_SOURCE MODELS SEEDS PROFILE LLM ANY_CHECKSUM CACHE_DIR FORM FORMAT \
	USER_COLUMN ITEM_COLUMN TIME_COLUMN TIME_UNIT RATING_COLUMN TITLE_COLUMN DEDUPLICATE MINIMUM_RATING K_CORE \
	SPLIT VALIDATION_FRACTION TEST_FRACTION OVERRIDES DEVICE PRECISION KERNELS COMPILE CHECKPOINT_DIR
flag = $(if $(filter command,$(origin $1)),--$(shell echo $1 | tr A-Z_ a-z-) '$($1)')
FLAGS = $(strip $(foreach name,$(PARAMETERS),$(call flag,$(name))))

##@ Use

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "; print "ssm4rec: make TARGET [NAME=value ...]"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run DATASET=ml-1m SOURCE=file:///data/ml-1m.zip MODELS=sasrec,2mamba4rec SEEDS=0,1,2 PROFILE=quick OUT=folder"
	@echo "  make run DATASET=events SOURCE=events.parquet      every flag: $(BIN)/python -m pipelines.run --help"

.PHONY: run
run: $(INSTALLED) ## Run the study on this machine: data, trainings, evaluation, report (DATASET=, MODELS=, OUT=, ...)
	@$(BIN)/python -m pipelines.run $(FLAGS) $(call flag,OUT)

.PHONY: mlflow
mlflow: $(INSTALLED) ## Open the MLflow UI of the local runs on http://127.0.0.1:5000
	@mkdir -p runs
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port 5000 \
		--backend-store-uri sqlite:///$(CURDIR)/runs/mlflow.db --artifacts-destination runs/mlflow-artifacts

##@ Cluster

.PHONY: compile
compile: $(INSTALLED) ## Compile the pipelines to pipelines/compiled/*.yaml
	@$(BIN)/python -m pipelines.compile

.PHONY: submit
submit: $(INSTALLED) ## Submit the study to a cluster: `kfp run create` at KF_PIPELINES_ENDPOINT (same variables as run)
	@$(BIN)/python -m pipelines.submit $(FLAGS)

##@ Develop

.PHONY: test
test: $(INSTALLED) ## Run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q $(TESTS)

.PHONY: test-gpu
test-gpu: $(INSTALLED) ## Run the tests that need a GPU
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make test-gpu: this machine has no GPU")'
	@$(BIN)/python -m pytest -q -rs -m gpu tests/gpu

.PHONY: check
check: $(INSTALLED) ## Check style, types, compiled pipelines and architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/pipelines/test_compiled.py

.PHONY: bench
bench: bench-ops bench-training bench-length bench-evaluation bench-large-catalog bench-data ## Measure everything but the peers

.PHONY: bench-ops bench-training bench-length bench-evaluation bench-large-catalog
bench-ops: ## Measure the operators in every form, and transformers' blocks beside ours
bench-training: ## Measure how fast the recommenders train
bench-length: ## Measure one user's cost against the length of the history
bench-evaluation: ## Measure full ranking beside the bare matrix product
bench-large-catalog: ## Measure the memory of a training step on 211,000 items
bench-ops bench-training bench-length bench-evaluation bench-large-catalog: bench-%: $(INSTALLED)
	@$(BIN)/python tests/benchmarks/bench_$(subst -,_,$*).py $(BENCH)

.PHONY: bench-peers
bench-peers: $(INSTALLED) ## Measure training beside RecTools, RePlay and RecBole (BENCH='--datasets ml-1m=FOLDER ...')
	@$(BIN)/python tests/benchmarks/bench_peers.py $(BENCH)

.PHONY: bench-gpu
bench-gpu: $(INSTALLED) ## Measure operators, training and lengths on a GPU
	@$(BIN)/python tests/benchmarks/bench_ops.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_training.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_length.py --device cuda

.PHONY: bench-data
bench-data: $(INSTALLED) ## Measure prepare_data on 24 million events and on raw reviews
	@$(BIN)/python tests/benchmarks/bench_data.py

.PHONY: clean
clean: ## Remove the virtual environment (runs/ stays)
	rm -rf $(VENV)

$(INSTALLED): pyproject.toml images/constraints.txt components/build_native.py $(wildcard components/ssm4rec/ops/native/*.c)
	@test -n "$(PYTHON)" || { echo "ssm4rec needs Python 3.11, 3.12 or 3.13: name one with make PYTHON=..." >&2; exit 2; }
	@echo "installing into $(VENV) with $(PYTHON): about 2 GB, some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --constraint images/constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		torch==2.13.0 --editable '.[data,train,tracking,pipelines,dev]'
	@touch $@
