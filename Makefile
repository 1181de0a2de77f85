# ssm4rec. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
TOOLS := .tools
# KServe's server, which wants other versions of what the rest needs.
SERVING := .venv-serve
# A value as it was given, byte for byte (make itself drops blanks before it): neither make nor the shell reads anything
# into it.
define LINE_BREAK


endef
quoted = $$'$(subst $(LINE_BREAK),\n,$(subst ',\',$(subst \,\\,$(value $1))))'
# These are parts of targets and of commands.
plain = $(shell [[ $(call quoted,$1) =~ ^[[:alnum:]_./][[:alnum:]_./+@,-]*$$ ]] && echo yes)
$(foreach name,VENV TOOLS SERVING,$(if $(call plain,$(name)),,$(error make: $(name)=: name a folder, without blanks and special characters)))
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# A Python of 3.11 to 3.13; choose another with `make PYTHON=python3.12 ...`.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell $(name) -c '$(SUPPORTED)' 2>/dev/null && echo $(name))))
# An index with CPU builds of torch, where the default one serves CUDA builds (gigabytes). Optional.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check

TOOLS_INSTALLED := $(TOOLS)/.installed
SERVING_INSTALLED := $(SERVING)/.installed
# mamba-ssm's Python, Triton and what they need, for test-kernels alone.
TRITON := .kernels

# The variables of each target (FLAGS_run and the like): `make run DATASET=ml-1m` hands --dataset=ml-1m to the study. Only
# those given to make itself count: names as plain as FORMAT or OUT may stand in the environment for other reasons. What a
# target does not know is refused (at the end of this file); a study refuses what only another one knows. OLD_FLAGS_run has
# the names of the last release, which still work.
include pipelines/compiled/flags.mk
# What a pipeline is compiled for: where images come from, what trains (cuda or cpu), which volume is mounted, how
# many trainings run at a time and on how many nodes each.
COMPILED_FOR := REGISTRY ACCELERATOR VOLUME AT_ONCE NODES

FLAGS_images := ONLY BASE_IMAGE NETWORK BUILD_ARG SOURCE TORCH_INDEX
FLAGS_mlflow := PORT
FLAGS_serve := HOST MAX_BODY NAME POPULARITY PORT SEARCH STORE THREADS
FLAGS_gpu-proof := DEVICE MINUTES OUT PARTS SOURCE
$(foreach target,$(STUDIES) submit schedule images compile,$(eval KNOWN_$(target) := $(COMPILED_FOR)))
KNOWN_help := FOR
KNOWN_images += PUSH
KNOWN_mlflow := BROWSER
KNOWN_serve := MODEL
KNOWN_deploy := OVERLAY
FLAGS_status := ENDPOINT RUN
FLAGS_logs := NAMESPACE RUN
FLAGS_stop := ENDPOINT RUN
FLAGS_report := BUCKET OUT RUN
KNOWN_test := TESTS
KNOWN_fuzz := CASES SEED
KNOWN_manifests := WRITE
BENCHES := $(addprefix bench-,ops training optimizers length evaluation statistics latency ranking recommend search large-catalog)
$(foreach target,bench $(BENCHES) bench-peers,$(eval KNOWN_$(target) := BENCH))
# Of every target: with what, from where and into which folders it installs.
KNOWN := PYTHON TORCH_INDEX VENV TOOLS SERVING
known = $(sort $(FLAGS_$1) $(KNOWN_$1) $(KNOWN))
# Those that compiled/help does not describe, and what they mean, for `make help FOR=target`.
described = $(if $(wildcard pipelines/compiled/help/$1.txt),,$(FLAGS_$1)) $(sort $(KNOWN_$1)) $(filter-out $(FLAGS_$1),$(KNOWN))
MEANS_PYTHON := Python that .venv is made with, 3.11 to 3.13
MEANS_TORCH_INDEX := package index with CPU builds of torch
MEANS_VENV := folder of the virtual environment (.venv)
MEANS_TOOLS := folder of the environment that renders manifests (.tools)
MEANS_SERVING := folder of the environment that serves a model (.venv-serve)
MEANS_REGISTRY := registry that the images are in
MEANS_ACCELERATOR := what trains: cuda or cpu (cuda)
MEANS_VOLUME := claim of the volume that tasks mount
MEANS_AT_ONCE := trainings that run at a time (8)
MEANS_NODES := nodes of each training, by Kubeflow Trainer; needs VOLUME (1)
MEANS_FOR := target whose variables are shown
MEANS_ONLY := roles to build: cpu, train, llm, serve (all)
MEANS_BASE_IMAGE := what the CPU image stands on (a slim Python)
MEANS_NETWORK := of the build: host, where the engine has no other
MEANS_BUILD_ARG := a further NAME=VALUE for docker build
MEANS_PUSH := 1: push the images when all are built
MEANS_images_SOURCE := address of the repository, for the label of the images
MEANS_PORT := port of the pages of MLflow (5000)
MEANS_MODEL := champion folder of register_champion, or model folder
MEANS_HOST := address to listen on (127.0.0.1)
MEANS_serve_PORT := port to listen on (8080)
MEANS_MAX_BODY := most bytes of a request (8388608)
MEANS_serve_NAME := name of the model in the paths (ssm4rec)
MEANS_POPULARITY := Parquet file of item_id and score (the one in the folder)
MEANS_SEARCH := exact: score all items; auto: by the index of items, if any (auto)
MEANS_STORE := memory, an SQLite file or redis://..., which keeps the users (memory)
MEANS_THREADS := large requests answered at a time (as many as cores)
MEANS_BROWSER := program that shows the page; none: only say where (the default one)
MEANS_DEVICE := cuda, or cpu: a rehearsal in small (cuda)
MEANS_MINUTES := that each part has (9)
MEANS_PARTS := some of the parts, separated by commas (all)
MEANS_gpu-proof_OUT := folder; the same one resumes (runs/gpu-proof)
MEANS_gpu-proof_SOURCE := archive of MovieLens-1M; empty: generated events of its size
MEANS_OVERLAY := kind, a100, kind-login or a100-login (kind)
MEANS_RUN := id of the run, from make submit or make status
MEANS_NAMESPACE := namespace that the pods of the run are in (kubeflow)
MEANS_ENDPOINT := KFP API address; empty: KF_PIPELINES_ENDPOINT or KFP_ENDPOINT
MEANS_BUCKET := bucket of the artifacts of KFP (mlpipeline)
MEANS_report_OUT := file that receives the report (report.html)
MEANS_TESTS := words for pytest: files, -k expression (all tests)
MEANS_CASES := cases in all (5000)
MEANS_SEED := decides which cases (0)
MEANS_WRITE := 1: renew manifests/rendered, too
MEANS_BENCH := words for the benchmark; --help lists them

given = $(foreach name,$1,$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
flags = $(foreach name,$(call given,$(FLAGS_$1) $(OLD_FLAGS_$1)),--$(shell echo $(name) | tr A-Z_ a-z-)=$(call quoted,$(name)))
# Words separated by blanks; `set -f` leaves * and ? as they are.
split = set -f; words=$(if $(call given,$1),$(call quoted,$1));
yes = $(if $(call given,$1),$(filter 1 yes true,$(value $1)))
SETTINGS = $(foreach name,$(call given,$(COMPILED_FOR)),SSM4REC_$(name)=$(call quoted,$(name)))

# A study that make starts ends with it, even if make is killed (ssm4rec/runtime/signals.py), and its report says which
# target it was.
AS_CHILD = SSM4REC_TARGET=$@ SSM4REC_PARENT=$$PPID exec

##@ Use

.PHONY: help
help: ## List the targets, or the variables of one (FOR=)
ifeq ($(filter command,$(firstword $(origin FOR))),)
	@awk 'BEGIN {FS = ":.*## "; print "ssm4rec: make TARGET [NAME=value ...]"} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run DATASET=ml-1m SOURCE=file:///data/ml-1m.zip MODELS=sasrec,2mamba4rec SEEDS=0,1,2 PROFILE=quick OUT=folder"
	@echo "  make run DATASET=events SOURCE=events.parquet"
	@echo "  make help FOR=run                                  what each variable of a target means"
	@echo
	@echo "  DATASET  $(CHOICES_DATASET)"
	@echo "  MODELS   $(CHOICES_MODELS)"
	@echo "  PROFILE  $(CHOICES_PROFILE)"
else
	@echo "  make $(value FOR) NAME=value ..."; echo
	@cat pipelines/compiled/help/$(value FOR).txt 2>/dev/null || printf '  %-24s %s\n' variable meaning
	@echo
	@$(foreach name,$(call described,$(value FOR)),printf '  %-24s %s\n' $(name) \
		'$(or $(MEANS_$(value FOR)_$(name)),$(MEANS_$(name)))';)
endif

.PHONY: run
run: $(INSTALLED) ## Run the study on this machine: data, trainings, evaluation, report (DATASET=, MODELS=, OUT=, RUNNER=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run $(call flags,$@)

.PHONY: optimizer-study
optimizer-study: $(INSTALLED) ## Compare optimizers and ways to choose batches, each tuned alike (MODELS=, OPTIMIZERS=, SEEDS=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run optimizers $(call flags,$@)

.PHONY: orpo-study
orpo-study: $(INSTALLED) ## Compare language models of several sizes before and after ORPO (LANGUAGE_MODELS=, PROFILE=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run orpo $(call flags,$@)

.PHONY: adapter-study
adapter-study: $(INSTALLED) ## Compare USGM with AdamW on a language model's adapter, each tuned alike (LANGUAGE_MODEL=, SEEDS=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run adapters $(call flags,$@)

.PHONY: long-history-study
long-history-study: $(INSTALLED) ## Compare windows of several lengths, and what long histories cost (MODELS=, LENGTHS=, LATENCY_LENGTHS=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run long-histories $(call flags,$@)

.PHONY: reproduce-ml1m
reproduce-ml1m: $(INSTALLED) ## Make the table of MovieLens-1M next to published figures (MODELS=, PROFILES=, SEEDS=, PAPER_EPOCHS=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run reproduction $(call flags,$@)

.PHONY: scaling-study
scaling-study: $(INSTALLED) ## Fit laws of the test loss to sizes and amounts of data (MODELS=, WIDTHS=, DEPTHS=, SHARES=, DATASET=, ...)
	@$(SETTINGS) $(AS_CHILD) $(BIN)/python -m pipelines.run scaling $(call flags,$@)

.PHONY: recommend
recommend: $(INSTALLED) ## Write every user's best items as Parquet (DATASET_DIR=, MODEL_DIR=, RECOMMENDATIONS_DIR=, K=10, ...)
	@$(AS_CHILD) $(BIN)/python -m ssm4rec.stages.recommend_all $(call flags,$@)

.PHONY: mlflow
mlflow: $(INSTALLED) ## Show the local runs in MLflow, in a browser: http://127.0.0.1:5000 or PORT= (BROWSER=none: only say where)
	@mkdir -p runs
	@$(if $(call given,BROWSER),BROWSER=$(call quoted,BROWSER)) $(AS_CHILD) $(BIN)/python -m ssm4rec.tracking runs/mlflow.db --port=$(if $(call given,PORT),$(call quoted,PORT),5000)

.PHONY: serve
serve: $(SERVING_INSTALLED) ## Serve a model on this machine by KServe: http://127.0.0.1:8080 (MODEL=folder, STORE=, PORT=, ...)
	@$(AS_CHILD) $(SERVING)/bin/python -m ssm4rec.serving $(call flags,$@) -- $(call quoted,MODEL)

##@ Cluster

.PHONY: images
images: $(INSTALLED) ## Build the images and print their sizes (ONLY=cpu, REGISTRY=, PUSH=1, ...)
	@$(SETTINGS) $(BIN)/python images/build.py $(call flags,$@) $(if $(call yes,PUSH),--push)

.PHONY: hashes
hashes: $(INSTALLED) ## Renew the lists of hashes in images/ after a change of a pin
	@$(BIN)/python images/hashes.py

.PHONY: deploy
deploy: ## Put KFP, MLflow, its database and the volume on the cluster that kubectl talks to (OVERLAY=kind, a100, kind-login or a100-login)
	@printf '%s\n' $(OVERLAYS) | grep -qxF -e $(call quoted,OVERLAY) || { echo make deploy: OVERLAY=$(call quoted,OVERLAY)": choose one of $(OVERLAYS)" >&2; exit 2; }
	kubectl apply -k manifests/kfp/cluster-scoped
	kubectl wait --for=condition=established --timeout=60s crd/applications.app.k8s.io
	kubectl apply -k manifests/kfp/$(or $(login),pipelines)
	manifests/secrets/generate.sh $(login)
	kubectl apply -k manifests/secrets
	$(if $(login),kubectl apply -k manifests/secrets/login)
	kubectl apply -k manifests/overlays/$(call quoted,OVERLAY)
	kubectl rollout status -n kubeflow --timeout=15m deployment/ml-pipeline deployment/ssm4rec-mlflow
OVERLAY ?= kind
OVERLAYS := $(sort $(notdir $(wildcard manifests/overlays/*)))
login = $(if $(filter %-login,$(value OVERLAY)),login)

.PHONY: compile
compile: $(INSTALLED) ## Compile the pipelines to pipelines/compiled/*.yaml (REGISTRY=, VOLUME=, ACCELERATOR=cpu, AT_ONCE=8, NODES=1)
	@$(SETTINGS) $(BIN)/python -m pipelines.compile
	@$(BIN)/python -m pipelines.stage_forms --write

.PHONY: submit schedule
submit: ## Submit a study to KF_PIPELINES_ENDPOINT (as run; STUDY=, GPU_POOL=, REGISTRY=, CACHE=0, ...)
schedule: ## Submit a study that runs repeatedly, on the data as they are then (as submit; CRON="0 3 * * *")
submit schedule: $(INSTALLED)
	@test $@ = submit -o -n $(call quoted,CRON) || { echo 'make schedule: say when, such as CRON="0 3 * * *": every night at three (UTC)' >&2; exit 2; }
	@$(SETTINGS) $(BIN)/python -m pipelines.submit $(call flags,$@)

.PHONY: status logs stop report
status: ## List the runs at KF_PIPELINES_ENDPOINT, or say how one stands or ended (RUN=id)
logs: ## Print what the stages of a run print, and follow it (RUN=id)
stop: ## Stop a run; its checkpoints on the volume stay (RUN=id)
report: ## Fetch a run's report.html from the bucket that AWS_... say (RUN=id, BUCKET=, OUT=)
status logs stop report: $(INSTALLED)
	@$(BIN)/python -m pipelines.operate $@ $(call flags,$@)

##@ Develop

.PHONY: test
test: $(INSTALLED) ## Run the tests
	@$(call split,TESTS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q $$words

.PHONY: fuzz
fuzz: $(INSTALLED) ## Damage the inputs of every stage, look how it ends (CASES=5000, SEED=0); half an hour
	@CASES=$(call quoted,CASES) SEED=$(call quoted,SEED) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist worksteal -m fuzz tests/fuzz
CASES ?= 5000
SEED ?= 0

.PHONY: test-gpu
test-gpu: $(INSTALLED) ## Run the tests that need a GPU
	@$(BIN)/python -c 'import sys, torch; torch.cuda.is_available() or sys.exit("make test-gpu: this machine has no GPU")'
	@$(BIN)/python -m pytest -q -rs -m gpu tests/gpu

.PHONY: gpu-proof
gpu-proof: $(INSTALLED) ## Run all that only a GPU can show: tests, recommenders, LlamaRec, latency (PARTS=, OUT=, MINUTES=9, SOURCE=, DEVICE=)
	@$(AS_CHILD) $(BIN)/python -m tests.gpu_proof $(call flags,$@)

.PHONY: test-kernels
test-kernels: $(INSTALLED) ## Run mamba-ssm's Triton kernels in Triton's interpreter against our operators; 2 minutes, no GPU
	@if tests/kernels/install.sh $(TRITON) $(BIN)/python; then \
		TRITON_INTERPRET=1 OMP_NUM_THREADS=1 PYTHONPATH=$(TRITON)$${PYTHONPATH:+:$$PYTHONPATH} \
			$(BIN)/python -m pytest -q -m kernels tests/kernels; \
	else echo "make test-kernels: left out: Triton or mamba-ssm cannot be installed here ($(TRITON).log says why)"; fi

.PHONY: test-containers
test-containers: $(INSTALLED) $(TOOLS_INSTALLED) ## Build the images for CPUs, run study, server and Ray in containers, break things; 30 minutes, Docker or root
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v -rs --durations=0 -m containers tests/containers

.PHONY: manifests
manifests: $(TOOLS_INSTALLED) ## Render the manifests and check them; WRITE=1 also renews manifests/rendered
	@$(TOOLS)/bin/python manifests/validate.py $(if $(call yes,WRITE),--write)
	@$(TOOLS)/bin/python -m pytest --noconftest -q tests/manifests/test_validate.py

.PHONY: check
check: $(INSTALLED) ## Check style, types, compiled pipelines, architecture and the stages' form
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pipelines.stage_forms
	@$(BIN)/python -m pytest -q tests/test_architecture.py tests/pipelines/test_compiled.py

.PHONY: bench
bench: bench-ops bench-training bench-optimizers bench-length bench-evaluation bench-statistics bench-latency bench-ranking bench-recommend bench-search bench-large-catalog bench-data ## Measure everything but the peers

.PHONY: bench-ops bench-training bench-optimizers bench-length bench-evaluation bench-statistics bench-latency bench-ranking bench-recommend bench-search bench-large-catalog
bench-ops: ## Measure the operators in every form, and compare transformers' blocks with ours
bench-training: ## Measure how fast the recommenders train
bench-optimizers: ## Measure a step of USGM, compared with Adam's
bench-length: ## Measure one user's cost against the length of the history
bench-evaluation: ## Measure full ranking, compared with the bare matrix product
bench-statistics: ## Measure the statistics of all pairs of 8 models
bench-latency: ## Measure what measure_latency adds to what it times
bench-ranking: ## Measure ranking by a language model, compared with a plain padded batch
bench-recommend: ## Measure every user's recommendations, compared with the bare matrix product
bench-search: ## Measure the best items of a history by all scores and by an index, 60,000 and 211,000 items
bench-large-catalog: ## Measure the memory of a training step on 211,000 items
bench-ops bench-training bench-optimizers bench-length bench-evaluation bench-statistics bench-latency bench-ranking bench-recommend bench-search bench-large-catalog: bench-%: $(INSTALLED)
	@$(call split,BENCH) $(BIN)/python tests/benchmarks/bench_$(subst -,_,$*).py $$words

.PHONY: bench-peers
bench-peers: $(INSTALLED) ## Measure training, compared with RecTools, RePlay and RecBole (BENCH='--datasets ml-1m=FOLDER ...')
	@$(call split,BENCH) $(BIN)/python tests/benchmarks/bench_peers.py $$words

.PHONY: bench-gpu
bench-gpu: $(INSTALLED) ## Measure operators, training and lengths on a GPU
	@$(BIN)/python tests/benchmarks/bench_ops.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_training.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_length.py --device cuda
	@$(BIN)/python tests/benchmarks/bench_ranking.py --device cuda

.PHONY: bench-data
bench-data: $(INSTALLED) ## Measure prepare_data on 24 million events, also by Ray, and on raw reviews
	@$(BIN)/python tests/benchmarks/bench_data.py

.PHONY: clean
clean: ## Remove the virtual environments (runs/ stays)
	@$(foreach folder,$(VENV) $(TOOLS) $(SERVING),if test -f $(folder)/pyvenv.cfg; then rm -rf $(folder); elif test -e $(folder); then \
		echo "make clean: $(folder) is not a virtual environment: it stays" >&2; exit 2; fi;)

$(INSTALLED): pyproject.toml images/constraints.txt components/build_native.py $(wildcard components/ssm4rec/ops/native/*.c)
	@test -n "$(PYTHON)" || { echo "ssm4rec needs Python 3.11, 3.12 or 3.13: name one with make PYTHON=..." >&2; exit 2; }
	@echo "installing into $(VENV) with $(PYTHON): about 2 GB, some minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --no-compile --constraint images/constraints.txt $(if $(value TORCH_INDEX),--extra-index-url $(call quoted,TORCH_INDEX)) \
		torch==2.13.0 --editable '.[data,train,llm,mining,tracking,registry,pipelines,ray,dev]'
	@# By all cores; pip does it by one, for half of its time. Torch has files of newer Pythons, which do not compile.
	@$(BIN)/python -m compileall -qq -j 0 $(abspath $(VENV)) || true
	@touch $@

$(SERVING_INSTALLED): images/serve/requirements.txt pyproject.toml components/build_native.py $(wildcard components/ssm4rec/ops/native/*.c)
	@test -n "$(PYTHON)" || { echo "ssm4rec needs Python 3.11, 3.12 or 3.13: name one with make PYTHON=..." >&2; exit 2; }
	@echo "installing KServe's server into $(SERVING) with $(PYTHON), apart from $(VENV): about 1.5 GB, some minutes, the first time"
	@test -x $(SERVING)/bin/python || $(PYTHON) -m venv $(SERVING)
	@$(SERVING)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $< \
		$(if $(value TORCH_INDEX),--extra-index-url $(call quoted,TORCH_INDEX))
	@$(SERVING)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --editable .
	@touch $@

# Apart from the rest: checkov wants other versions of what kfp needs.
$(TOOLS_INSTALLED): images/tools.txt
	@echo "installing $< into $(TOOLS): about 400 MB"
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@

# A name that a target does not know is refused before anything is installed: MODEL=sasrec would train all models.
GOALS := $(or $(MAKECMDGOALS),help)
UNKNOWN := $(filter-out MAKEFLAGS SHELL .% $(foreach goal,$(GOALS),$(call known,$(goal)) $(OLD_FLAGS_$(goal))),$(call given,$(.VARIABLES)))
NEAREST := import difflib, sys; \
	print("".join(f"; did you mean {name}=?" for name in difflib.get_close_matches(sys.argv[1], sys.argv[2:], n=1)))
nearest = $(shell $(PYTHON) -c '$(NEAREST)' '$(subst ',,$1)' $(sort $2))
ifneq ($(UNKNOWN),)
NAME_AT_FAULT := $(firstword $(UNKNOWN))
NAMES := $(foreach goal,$(GOALS),$(call known,$(goal)))
$(error make $(GOALS): $(NAME_AT_FAULT)=: unknown$(call nearest,$(NAME_AT_FAULT),$(NAMES)) (known: $(sort $(NAMES))))
endif
ifneq ($(call given,FOR),)
TARGETS := $(shell awk -F: '/^[a-z0-9-]+:.*## / {print $$1}' $(MAKEFILE_LIST))
$(if $(strip $(value FOR)),,$(error make help: FOR=: name one of $(TARGETS)))
$(if $(filter-out $(TARGETS),$(value FOR)),$(error make help: FOR=: there is no such target; name one of $(TARGETS)))
endif
ifneq ($(filter serve,$(GOALS)),)
$(if $(call given,MODEL),,$(error make serve: name a model, such as MODEL=runs/FOLDER/champion))
# Said before KServe's server is installed.
$(if $(shell test -d $(call quoted,MODEL) && echo yes),,$(error make serve: MODEL=$(value MODEL): no such folder; name one such as runs/FOLDER/champion))
endif
# Whether, not what: any other value would count as yes, 0 too. No blank may stand in it.
BLANK := $() $()
$(foreach name,$(call given,PUSH WRITE),$(if $(value $(name)),$(if $(filter 0 1 no yes false true,$(subst $(BLANK),-,$(value $(name)))),,\
	$(error make $(GOALS): $(name)=: write 1 or 0))))
# What is given here stays out of the environment of programs: make would read the values as its own language there.
unexport $(call given,$(.VARIABLES))
