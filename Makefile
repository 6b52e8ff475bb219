# Each target sets up what it needs. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first of these that runs and is a Python that we support; `make PYTHON=...` chooses another.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)
# The first Python 3.N of these, the last by pyenv; or nothing.
python3 = $(shell for p in python3.$(1) python3 python "$$(pyenv prefix 3.$(1) 2>/dev/null)/bin/python"; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info[:2] != (3, $(1)))' 2>/dev/null && { echo "$$p"; break; }; done)
PYTHON311 ?= $(call python3,11)
PYTHON313 ?= $(call python3,13)

PORT ?= 9000
# An absolute path of what is here is meant from here, as Docker wants it.
override MODEL := $(patsubst $(CURDIR)/%,%,$(MODEL))
STACK ?= keras-to-lambda
# The template's parameters; what is omitted stays as it is in the stack, or at its default.
PARAMETERS = $(if $(ARCHITECTURE),Architecture=$(ARCHITECTURE)) $(if $(AUTH),Authentication=$(AUTH)) $(if $(API),ApiType=$(API)) \
	$(if $(MEMORY),MemorySize=$(MEMORY)) $(if $(MODEL),Model=$(MODEL)) $(if $(BULK),Bulk=$(BULK)) \
	$(if $(EMAIL),AlarmEmail=$(EMAIL)) $(WITH)
ACCOUNT = $(if $(REGION),--region $(REGION)) $(if $(PROFILE),--profile $(PROFILE))
APP := .venv/.ready
DEV := .venv/.tests
TF := .venv-tf/.ready
TF_DEV := .venv-tf/.tests
AWS := .venv-aws/.ready
TFLITE := .venv-tflite/.ready
SUPPLY := .venv-supply/.ready
# Files of tests in the order that is given: the slow ones first, the many short ones last.
BY_FILE := --dist loadfile --no-loadscope-reorder --max-worker-restart=0
# The function's own settings, where the project's samples are served from this machine.
LOCAL := OPENBLAS_NUM_THREADS=1 FETCH_PRIVATE_HOSTS=127.0.0.1:8000

# Installs packages: uv from PATH, or by pip in an environment for itself (none with UV= make ...).
INSTALLER := $(if $(filter undefined,$(origin UV)),$(if $(shell command -v uv 2>/dev/null),,.venv-uv/bin/uv))

# $(call venv,DIR,PYTHON,WHAT,"INSTALL ARGUMENTS" ...): a virtual environment, renewed when its inputs changed.
define venv
@test -n "$(2)" || { echo "make: no Python 3.11, 3.12 or 3.13 found; install one, or use make PYTHON=..." >&2; exit 1; }
@echo "setting up $(1): $(3)"
@tools/environment.sh $(1) "$(2)" $(4)
@touch $(1)/.ready
endef

## What the project does

demo: ## convert the clothing model, verify it, serve it in Lambda's emulator, classify a photo
	@$(MAKE) -j3 $(APP) $(TF) $(AWS)
	@.venv/bin/python -m keras_to_lambda.deploy.serving_demo --port $(PORT)

run: $(APP) ## serve the models and the playground at http://127.0.0.1:9000, with no Docker
	@$(LOCAL) .venv/bin/k2l serve --port $(PORT) $(if $(MODEL),--model "$(MODEL)")

emulator: $(APP) $(AWS) ## the function in AWS's Runtime Interface Emulator on port 9000, with no Docker
	@$(LOCAL) .venv/bin/python -m keras_to_lambda.deploy.emulator --port $(PORT) $(if $(MODEL),--model "$(MODEL)")

image: ## build the container image keras-to-lambda: make image [MODEL=models/my/my.tflite]
	@test -z "$(MODEL)" || { [[ "$(MODEL)" == models* ]] && test -n "$$(find "$(MODEL)" -name '*.tflite' 2>/dev/null)"; } || \
		{ echo "MODEL=$(MODEL): use a .tflite below models/, or a folder of them there" >&2; exit 2; }
	docker build -t keras-to-lambda $(if $(MODEL),--build-arg MODEL="$(MODEL)") .

setup: $(DEV) $(TF_DEV) $(AWS) ## make the environments only

## In AWS

doctor: $(DEV) $(AWS) ## check prerequisites, from Python to permissions, and print fixes
	@.venv/bin/k2l doctor --stack $(STACK) $(ACCOUNT) $(PARAMETERS) $(OPTIONS)

deploy: $(DEV) $(AWS) ## sam build and sam deploy: make deploy AUTH=iam|api-key|none [ARCHITECTURE=arm64 MEMORY=1769 BULK=true ...]
	@.venv/bin/k2l deploy --stack $(STACK) $(ACCOUNT) $(PARAMETERS) -- $(OPTIONS)

smoke: $(DEV) ## compare a deployment with this folder: make smoke URL=... [FUNCTION=... rolls back on a difference]
	@test -n "$(URL)" || { echo "set URL: make smoke URL=https://.../Prod/predict (make deploy prints it)" >&2; exit 2; }
	@.venv/bin/k2l smoke "$(URL)" $(if $(FUNCTION),--function "$(FUNCTION)") \
		$(if $(MODEL),--model "$(MODEL)") $(ACCOUNT) $(OPTIONS)

receipt: $(DEV) ## milliseconds and dollars of the container by memory size: make receipt [MODEL=FILE.tflite QUICK=1 DOCS=1]
	@.venv/bin/python -m benchmarks.receipt $(if $(MODEL),--model "$(MODEL)") $(if $(QUICK),--quick) $(if $(DOCS),--docs) $(OPTIONS)

## Tests and checks

test: ## the tests that need no container and no engine
	@$(MAKE) -j3 $(DEV) $(TF_DEV) $(AWS) $(SUPPLY)
	@$(MAKE) tracking
	@.venv/bin/python -m pytest -n 4 $(BY_FILE) $(patsubst %,tests/%,deploy web emulator project serve cli runtime)
	@$(MAKE) test-tflite
	@$(MAKE) test-keras

test-keras: $(TF_DEV) tracking ## the tests of train and convert
	@.venv-tf/bin/python -m pytest -n 2 $(BY_FILE) tests/train tests/convert

test-tflite: ## the engine's tests with tflite-runtime in place of ai-edge-litert (Python 3.11)
ifneq ($(PYTHON311),)
	@$(MAKE) $(TFLITE)
	@.venv-tflite/bin/python -m pytest -n 2 $(BY_FILE) -m engine tests/runtime
else
	@echo "SKIPPED tests with tflite-runtime: its last release needs Python 3.11, which is not here"
endif

test-busy: $(DEV) ## the handler's and the local server's tests while every core is busy
	@.venv/bin/python -m tests.busy .venv/bin/python -m pytest -q -n 2 $(BY_FILE) tests/runtime tests/serve/test_gateway.py

test-old-keras: $(TF_DEV) ## model files written by TensorFlow 2.13 and 2.15, converted (Python 3.11)
ifneq ($(PYTHON311),)
	@$(MAKE) .venv-tf213/.ready .venv-tf215/.ready
	@rm -rf .old-keras && mkdir .old-keras && cp -r tests/convert/saved_by/files/keras-* .old-keras/
	@for v in 13 15; do echo "writing models with TensorFlow 2.$$v"; \
		.venv-tf2$$v/bin/python tests/convert/saved_by/write.py .old-keras/tensorflow-2.$$v >/dev/null 2>.old-keras/log \
		|| { cat .old-keras/log; exit 1; }; done
	@SAVED_BY=.old-keras .venv-tf/bin/python -m pytest tests/convert/test_saved_by.py
else
	@echo "SKIPPED files written by old Keras: TensorFlow 2.13 needs Python 3.11, which is not here"
endif

test-mediapipe: $(TF_DEV) .venv-mediapipe/.ready ## our files in MediaPipe's own image classifier
	@MEDIAPIPE_PYTHON=.venv-mediapipe/bin/python .venv-tf/bin/python -m pytest tests/convert/test_metadata.py

test-cloud: $(DEV) $(AWS) ## the whole stack in LocalStack, without Docker: gateway, uploads, batches, smoke (Python 3.13)
ifneq ($(PYTHON313),)
	@$(MAKE) .venv-localstack/.ready
	@.venv/bin/python -m pytest tests/cloud
else
	@echo "SKIPPED the stack in LocalStack: it needs Python 3.13, which is not here"
endif

lighthouse: $(DEV) ## Lighthouse's audits of the page, except speed, in Chromium (needs npm)
	@.venv/bin/python -m tests.web.lighthouse

test-container: $(DEV) $(AWS) $(SUPPLY) ## Dockerfile, docker run and sam local, for real; needs a Docker engine
	@.venv/bin/python -m pytest tests/container

test-arm64: $(DEV) $(TF_DEV) ## the function on arm64, under QEMU, compared with this machine (Debian; qemu-user-static)
	@.venv/bin/python -m pytest tests/arm64

fuzz: $(DEV) ## a minute of damaged images, events and forms: make fuzz SECONDS=600
	@.venv/bin/python -m tests.endurance.fuzz --seconds $(or $(SECONDS),60)

faults: $(DEV) $(AWS) ## processes killed, connections cut, memory and disk full: what callers see, and that the function recovers
	@.venv/bin/python -m tests.endurance.faults $(if $(DOCS),--docs)

load: $(DEV) $(AWS) ## a bounded load under, at and over capacity
	@.venv/bin/python -m tests.endurance.load $(if $(DOCS),--docs)

soak: $(DEV) ## ten thousand requests; fails if memory or file descriptors grow
	@.venv/bin/python -m tests.endurance.soak

audit: $(SUPPLY) ## known vulnerabilities of the packages that ship, by pip-audit; lint of the workflows; REQUIRE=1: skip none
	@.venv-supply/bin/pip-audit $(if $(REQUIRE),--strict) --require-hashes --disable-pip --progress-spinner=off -r requirements.txt -r requirements-web.txt
	@.venv-supply/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.venv-supply/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@.venv-supply/bin/zizmor --offline --quiet --persona=pedantic .github

sbom: $(SUPPLY) ## software bill of materials, CycloneDX: make sbom [IMAGE=keras-to-lambda] [MODEL=...] [OUT=sbom.cdx.json]
	@.venv-supply/bin/python -m keras_to_lambda.deploy.sbom $(if $(IMAGE),--image "$(IMAGE)") $(if $(MODEL),--model "$(MODEL)") \
		-o "$(or $(OUT),sbom.cdx.json)"

check: $(DEV) ## formatting, lint and types; FIX=1 applies the formatter and the automatic fixes
ifdef FIX
	@.venv/bin/ruff check --fix-only -q . ; .venv/bin/ruff format .
endif
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

docs: $(DEV) ## renew the tables in the docs that come from the code
	@.venv/bin/python docs/generate.py

ifeq ($(OF),)
bench: $(DEV) $(TF_DEV) .venv-bench/.ready ## cold start, warm calls, memory and size, compared with common alternatives; OF=training CLOTHING=... MNIST=... (an hour)
	@$(if $(PYTHON311),$(MAKE) $(TFLITE),echo "no Python 3.11: tflite-runtime is left out")
	@.venv/bin/python -m benchmarks $(if $(DOCS),--docs) $(if $(QUICK),--quick)
else
bench: $(TF_DEV)
	@.venv-tf/bin/python -m benchmarks.$(OF) $(if $(CLOTHING),--clothing "$(CLOTHING)") $(if $(MNIST),--mnist "$(MNIST)") $(if $(DOCS),--docs)
endif

models: $(TF_DEV) ## convert the shipped models again: make models CLOTHING=.../clothing-dataset-small MNIST=.../mnist [TRAIN=1: train them first]
	@test -n "$(CLOTHING)" -a -n "$(MNIST)" || { echo "set CLOTHING to clothing-dataset-small, MNIST to the folder of its idx files" >&2; exit 2; }
ifdef TRAIN
	@.venv-tf/bin/k2l train "$(CLOTHING)" -o models/clothing
	@.venv-tf/bin/k2l train "$(MNIST)" -o models/digits
	@.venv-tf/bin/k2l tree "$(MNIST)" -o models/digits-tree
endif
	@.venv-tf/bin/k2l convert models/clothing/clothing.keras --samples "$(CLOTHING)/validation" --max-samples 1000 \
		-o models/clothing/clothing.tflite
	@.venv-tf/bin/k2l convert models/digits/digits.keras --samples "$(MNIST)" --max-samples 2000 \
		-o models/digits/digits.tflite
	@.venv-tf/bin/k2l convert models/digits-tree/digits-tree --samples "$(MNIST)" --max-samples 2000 \
		-o models/digits-tree/digits-tree.tflite
	@.venv-tf/bin/python -m tests.events_of_models

train-demo: $(TF_DEV) ## pictures to a served model in minutes: explore, train, convert, verify, serve, evaluate
	@tools/train-demo.sh $(PORT) "$(DATA)" $(OPTIONS)

tracking: .venv-tf/.tracking ## Weights & Biases and MLflow, for train --track

screenshots: $(DEV) $(TF) ## renew the pictures in docs/images (needs Chromium)
	@.venv/bin/python -m tests.web.screenshots
	@.venv-tf/bin/python -m tests.train.screenshots

lock: .venv-lock/.ready ## resolve requirements*.in into the hash-locked requirements*.txt
	@.venv-lock/bin/uv pip compile -q --universal --fork-strategy fewest --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade requirements.in -o requirements.txt
	@.venv-lock/bin/uv pip compile -q --python-version 3.11 --override requirements-tflite.in \
		--generate-hashes --no-header --no-annotate --upgrade requirements-tflite.in -o requirements-tflite.txt
	@echo "waitress>=3" | .venv-lock/bin/uv pip compile -q --universal --python-version 3.11 \
		--generate-hashes --no-header --no-annotate --upgrade - -o requirements-web.txt

clean: ## remove what make has set up
	rm -rf .venv .venv-* .schemathesis .demo .train-demo .old-keras .fuzz .bench .arm64 .aws-sam .pytest_cache .ruff_cache .mypy_cache

help: ## this list
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

$(APP): requirements.txt pyproject.toml | $(INSTALLER)
	$(call venv,.venv,$(PYTHON),the function's packages,"--require-hashes -r requirements.txt" \
	"-e .[deploy]")

.venv/.tests: $(APP)
	@echo "adding the tests' packages to .venv"
	@tools/environment.sh --add .venv "$(PYTHON)" "--group dev"
	@touch $@

$(TF): requirements.txt pyproject.toml | $(INSTALLER)
	$(call venv,.venv-tf,$(PYTHON),TensorFlow$(comma) for convert and train,"--require-hashes -r requirements.txt" \
	"-e .[convert]" "--no-deps --group tf-keras")

.venv-tf/.tests: $(TF)
	@echo "adding train's and the tests' packages to .venv-tf"
	@tools/environment.sh --add .venv-tf "$(PYTHON)" "-e .[train] --group tf-tests"
	@touch $@

.venv-tf/.tracking: $(TF)
	@echo "adding Weights & Biases and MLflow to .venv-tf"
	@tools/environment.sh --add .venv-tf "$(PYTHON)" "--group tracking"
	@touch $@

$(AWS): pyproject.toml | $(INSTALLER)
	$(call venv,.venv-aws,$(PYTHON),sam$(comma) aws and the Lambda emulator,"--group aws")

.venv-localstack/.ready: pyproject.toml | $(INSTALLER)
	$(call venv,.venv-localstack,$(PYTHON313),LocalStack,"--group localstack")

$(SUPPLY): requirements.txt pyproject.toml | $(INSTALLER)
	$(call venv,.venv-supply,$(PYTHON),the auditors,"--require-hashes -r requirements.txt" "--no-deps -e ." \
	"--group supply")

$(TFLITE): requirements-tflite.txt pyproject.toml
	$(call venv,.venv-tflite,$(PYTHON311),tflite-runtime and numpy 1,"--require-hashes --no-deps -r requirements-tflite.txt" \
	"--no-deps -e ." "pytest pytest-xdist hypothesis trustme")

.venv-tf213/.ready .venv-tf215/.ready: .venv-%/.ready: pyproject.toml
	$(call venv,.venv-$*,$(PYTHON311),the TensorFlow that wrote people's files,"--group $*")

.venv-mediapipe/.ready: pyproject.toml
	$(call venv,.venv-mediapipe,$(PYTHON),MediaPipe,"--group mediapipe")

.venv-bench/.ready: pyproject.toml
	$(call venv,.venv-bench,$(PYTHON),ONNX Runtime$(comma) to compare with,"--group bench")

.venv-lock/.ready: pyproject.toml
	$(call venv,.venv-lock,$(PYTHON),the lock file's writer,"--group lock")

.venv-uv/bin/uv:
	@tools/environment.sh --uv "$(PYTHON)"

comma := ,

.PHONY: demo run emulator image setup doctor deploy smoke receipt docs bench models train-demo tracking screenshots lighthouse test test-keras test-tflite test-busy test-old-keras test-mediapipe test-cloud test-container test-arm64 fuzz faults load soak audit sbom check lock clean help
