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

TOOLS := .tools
TOOLS_INSTALLED := $(TOOLS)/.installed

# Variables that `make run` and `make submit` hand to the study as flags: DATASET=ml-1m becomes --dataset ml-1m.
# Only those given to make itself count: names as plain as FORMAT or OUT may stand in the environment for other reasons.
STUDY := PARAMETERS DATASET NAME SOURCE ITEMS_SOURCE DATA_VERSION MODELS SEEDS GLOBAL_TIME PROFILE LLM LANGUAGE_MODEL LANGUAGE_MODEL_VERSION RETRIEVER LLM_OVERRIDES \
	GENERATOR_OVERRIDES LATENCY_SAMPLES LATENCY_USERS LATENCY_BATCHES ANY_CHECKSUM CACHE_DIR FORM FORMAT \
	DELIMITER ENCODING BAD_ROWS USER_COLUMN ITEM_COLUMN TIME_COLUMN TIME_UNIT RATING_COLUMN TITLE_COLUMN DEDUPLICATE MINIMUM_RATING K_CORE \
	REPLACE_CHAMPION SPLIT VALIDATION_FRACTION TEST_FRACTION OVERRIDES DEVICE PRECISION KERNELS COMPILE CHECKPOINT_DIR GPUS
given = $(foreach name,$1,$(if $(filter command,$(origin $(name))),$(name)))
flags = $(foreach name,$(call given,$1),--$(shell echo $(name) | tr A-Z_ a-z-) '$($(name))')
# Where images come from, what trains (cuda or cpu) and which volume is mounted: read when a pipeline is compiled.
SETTINGS = $(foreach name,$(call given,REGISTRY ACCELERATOR VOLUME),SSM4REC_$(name)='$($(name))')

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
run: $(INSTALLED) ## Run the study on this machine: data, trainings, evaluation, report (DATASET=, MODELS=, OUT=, RUNNER=, ...)
	@$(SETTINGS) $(BIN)/python -m pipelines.run $(call flags,$(STUDY) OUT RUNNER ARTIFACTS)

.PHONY: optimizer-study
optimizer-study: $(INSTALLED) ## Compare optimizers and ways to choose batches, each tuned alike (MODELS=, OPTIMIZERS=, SEEDS=, ...)
	@$(SETTINGS) $(BIN)/python -m pipelines.run_optimizers $(call flags,$(STUDY) OPTIMIZERS CONTROLS OUT RUNNER ARTIFACTS)

.PHONY: orpo-study
orpo-study: $(INSTALLED) ## Compare language models of several sizes before and after ORPO (LANGUAGE_MODELS=, PROFILE=, ...)
	@$(SETTINGS) $(BIN)/python -m pipelines.run_orpo $(call flags,$(STUDY) LANGUAGE_MODELS OUT RUNNER ARTIFACTS)

.PHONY: adapter-study
adapter-study: $(INSTALLED) ## Compare USGM with AdamW on a language model's adapter, each tuned alike (LANGUAGE_MODEL=, SEEDS=, ...)
	@$(SETTINGS) $(BIN)/python -m pipelines.run_adapters $(call flags,$(STUDY) OPTIMIZERS OUT RUNNER ARTIFACTS)

.PHONY: long-history-study
long-history-study: $(INSTALLED) ## Compare windows of several lengths, and what long histories cost (MODELS=, LENGTHS=, LATENCY_LENGTHS=, ...)
	@$(SETTINGS) $(BIN)/python -m pipelines.run_long_histories $(call flags,$(STUDY) LENGTHS LATENCY_LENGTHS OUT RUNNER ARTIFACTS)

.PHONY: mlflow
mlflow: $(INSTALLED) ## Open the MLflow UI of the local runs on http://127.0.0.1:5000
	@mkdir -p runs
	@MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow server --host 127.0.0.1 --port 5000 \
		--backend-store-uri sqlite:///$(CURDIR)/runs/mlflow.db --artifacts-destination runs/mlflow-artifacts

##@ Cluster

.PHONY: images
images: $(INSTALLED) ## Build the images and print their sizes (ONLY=cpu, REGISTRY=, PUSH=1, ...)
	@$(SETTINGS) $(BIN)/python images/build.py $(call flags,ONLY BASE_IMAGE TORCH_INDEX NETWORK BUILD_ARG SOURCE) $(if $(PUSH),--push)

.PHONY: deploy
deploy: ## Put KFP, MLflow, its database and the volume on the cluster that kubectl talks to (OVERLAY=kind or a100)
	@test -d manifests/overlays/$(OVERLAY) || { echo "make deploy: OVERLAY=$(OVERLAY): choose one of" $$(ls manifests/overlays) >&2; exit 2; }
	kubectl apply -k manifests/kfp/cluster-scoped
	kubectl wait --for=condition=established --timeout=60s crd/applications.app.k8s.io
	kubectl apply -k manifests/kfp/pipelines
	manifests/secrets/generate.sh
	kubectl apply -k manifests/secrets
	kubectl apply -k manifests/overlays/$(OVERLAY)
	kubectl rollout status -n kubeflow --timeout=15m deployment/ml-pipeline deployment/ssm4rec-mlflow
OVERLAY ?= kind

.PHONY: compile
compile: $(INSTALLED) ## Compile the pipelines to pipelines/compiled/*.yaml (REGISTRY=, VOLUME=, ACCELERATOR=cpu)
	@$(SETTINGS) $(BIN)/python -m pipelines.compile

.PHONY: submit
submit: $(INSTALLED) ## Submit the study: `kfp run create` at KF_PIPELINES_ENDPOINT (as run; GPU_POOL=, GPU_TOLERATION=, EXPERIMENT=)
	@$(BIN)/python -m pipelines.submit $(call flags,$(STUDY) EXPERIMENT GPU_POOL GPU_TOLERATION)

.PHONY: status
status: $(INSTALLED) ## Show the runs at KF_PIPELINES_ENDPOINT, or one of them (RUN=id)
	@test -n "$$KF_PIPELINES_ENDPOINT" || { echo "make status: set KF_PIPELINES_ENDPOINT, such as http://localhost:8080" >&2; exit 2; }
	@PYTHONWARNINGS=ignore::FutureWarning $(BIN)/kfp run $(if $(RUN),get '$(RUN)',list --sort-by 'created_at desc')

.PHONY: logs
logs: ## Print what the stages of a run print, and follow it (RUN=id)
	@test -n "$(RUN)" || { echo "make logs: which run? RUN=id, from make status" >&2; exit 2; }
	@kubectl logs -n kubeflow -l pipeline/runid=$(RUN) -c main --prefix --tail=-1 --follow --max-log-requests=20

##@ Develop

.PHONY: test
test: $(INSTALLED) ## Run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q $(TESTS)

.PHONY: test-gpu
test-gpu: $(INSTALLED) ## Run the tests that need a GPU
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make test-gpu: this machine has no GPU")'
	@$(BIN)/python -m pytest -q -rs -m gpu tests/gpu

.PHONY: test-containers
test-containers: $(INSTALLED) $(TOOLS_INSTALLED) ## Build the CPU image, run the study in containers, break things; 20 minutes, Docker or root
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -rs --durations=0 -m containers tests/containers

.PHONY: manifests
manifests: $(TOOLS_INSTALLED) ## Render the manifests and check them; WRITE=1 also renews manifests/rendered
	@$(TOOLS)/bin/python manifests/validate.py $(if $(WRITE),--write)
	@$(TOOLS)/bin/python -m pytest --noconftest -q tests/manifests/test_validate.py

.PHONY: check
check: $(INSTALLED) ## Check style, types, compiled pipelines and architecture
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/pipelines/test_compiled.py

.PHONY: bench
bench: bench-ops bench-training bench-optimizers bench-length bench-evaluation bench-statistics bench-latency bench-ranking bench-large-catalog bench-data ## Measure everything but the peers

.PHONY: bench-ops bench-training bench-optimizers bench-length bench-evaluation bench-statistics bench-latency bench-ranking bench-large-catalog
bench-ops: ## Measure the operators in every form, and transformers' blocks beside ours
bench-training: ## Measure how fast the recommenders train
bench-optimizers: ## Measure a step of USGM beside Adam's
bench-length: ## Measure one user's cost against the length of the history
bench-evaluation: ## Measure full ranking beside the bare matrix product
bench-statistics: ## Measure the statistics of all pairs of 8 models
bench-latency: ## Measure what measure_latency adds to what it times
bench-ranking: ## Measure ranking by a language model beside a plain padded batch
bench-large-catalog: ## Measure the memory of a training step on 211,000 items
bench-ops bench-training bench-optimizers bench-length bench-evaluation bench-statistics bench-latency bench-ranking bench-large-catalog: bench-%: $(INSTALLED)
	@$(BIN)/python tests/benchmarks/bench_$(subst -,_,$*).py $(BENCH)

.PHONY: bench-peers
bench-peers: $(INSTALLED) ## Measure training beside RecTools, RePlay and RecBole (BENCH='--datasets ml-1m=FOLDER ...')
	@$(BIN)/python tests/benchmarks/bench_peers.py $(BENCH)

.PHONY: bench-gpu
bench-gpu: $(INSTALLED) ## Measure operators, training and lengths on a GPU
	@$(BIN)/python tests/benchmarks/bench_ops.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_training.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_length.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_ranking.py --device cuda

.PHONY: bench-data
bench-data: $(INSTALLED) ## Measure prepare_data on 24 million events and on raw reviews
	@$(BIN)/python tests/benchmarks/bench_data.py

.PHONY: clean
clean: ## Remove the virtual environments (runs/ stays)
	rm -rf $(VENV) $(TOOLS)

$(INSTALLED): pyproject.toml images/constraints.txt components/build_native.py $(wildcard components/ssm4rec/ops/native/*.c)
	@test -n "$(PYTHON)" || { echo "ssm4rec needs Python 3.11, 3.12 or 3.13: name one with make PYTHON=..." >&2; exit 2; }
	@echo "installing into $(VENV) with $(PYTHON): about 2 GB, some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --constraint images/constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		torch==2.13.0 --editable '.[data,train,llm,mining,tracking,pipelines,dev]'
	@touch $@

# Apart from the rest: checkov wants other versions of what kfp needs.
$(TOOLS_INSTALLED): images/tools.txt
	@echo "installing $< into $(TOOLS): about 400 MB"
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@
