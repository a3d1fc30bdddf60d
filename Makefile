# Every target takes Hydra overrides in ARGS, e.g. make up ARGS="gateway.port=5010".
PYTHON ?= python3
MODEL ?=
ARGS ?=
CUDA_VERSION ?= 12.8
TORCH_INDEX ?=
comma := ,
# CA: certificates of a proxy; PIP_INDEX: an index of packages. docker/compose.yaml reads both.
CA ?=
override CA := $(abspath $(CA))
PIP_INDEX ?=
export CA PIP_INDEX TORCH_INDEX
BUILD := DOCKER_BUILDKIT=1 docker build $(if $(CA),--secret id=ca$(comma)src=$(CA) --build-arg CA=yes) --build-arg PIP_INDEX_URL=$(PIP_INDEX) \
  $(foreach base,DEBIAN_IMAGE PYTHON_IMAGE,$(if $($(base)),--build-arg $(base)=$($(base))))
# docker/compose.yaml takes the first two names.
TORCHSERVE_IMAGE ?= marina-torchserve:cpu
TORCHSERVE_CUDA_IMAGE ?= marina-torchserve:cuda
RAY_IMAGE ?= marina-ray
PY := .venv/bin/python
PROFILES ?= core,observability
# Without Grafana the console has no link to it.
COMPOSE := $(if $(findstring observability,$(PROFILES)),,MARINA_GRAFANA_URL= )docker compose -f docker/compose.yaml $(addprefix --profile ,$(subst $(comma), ,$(PROFILES)))
S3 := store=s3 store.endpoint=http://minio:9000 store.local_folder=null store.credentials=/run/secrets/s3.json
# The targets of Prometheus, with or without the edge; docker/compose.yaml reads it.
export MARINA_TARGETS ?= $(if $(findstring edge,$(PROFILES)),edge,core)
# The store to which containers deliver; docker/compose.yaml reads it.
export MARINA_STORE ?= $(if $(findstring s3,$(PROFILES)),$(S3),store=nginx)
# Makes secrets and folders, and refuses when another folder uses the name of the stack.
READY := $(PY) -m stack.compose ready
# For a stack that runs: makes nothing, and refuses only the stack of another folder.
OWN := $(PY) -m stack.compose own
DELIVER := $(COMPOSE) exec delivery python
OVERLAY ?= core
# kubectl 1.21 or newer.
KUBECTL ?= kubectl
export KUSTOMIZE ?= $(KUBECTL) kustomize
ONE := $(if $(MODEL),served_model=$(MODEL))
RUNNING = torchserve=$(TORCHSERVE) $(if $(SAMPLES),samples="$(SAMPLES)") $(if $(KEY_FILE),key_file="$(KEY_FILE)") \
  $(if $(MODEL_STORE),model_store="$(MODEL_STORE)") $(if $(CONFIG),config="$(CONFIG)")

.DEFAULT_GOAL := help
.PHONY: help setup demo demo_triton test test_slow test_ray test_containers lint train_demo download_weights generate_mar up down status logs \
  run_ts run_nginx_filebrowser run_app adopt upload_mar_file upload_model rollback models doctor run_stress tune \
  build_ts_cpu build_ts_cuda build_ray build_bases build_images sbom run_ts_cpu run_ts_cuda compose_secrets compose_up compose_update compose_down \
  compose_upload compose_rollback compose_edge edge build_edge run_edge \
  bench bench_handlers bench_growth bench_gateway bench_tracing bench_swaps bench_edge bench_tune bench_capacity \
  bench_engines kubernetes_render kubernetes_apply

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z_]+:.*## / { printf "%-24s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## .venv with the pinned requirements, Java among them; Debian's nginx when it is missing
	@$(PYTHON) -m stack.setup

demo: setup ## train, pack, serve and predict with two demo models
	$(PY) -m demo train
	$(PY) -m serialize served_model=digits $(ARGS)
	$(PY) -m serialize served_model=cartpole $(ARGS)
	$(PY) -m stack up $(ARGS)
	$(PY) upload_model.py served_model=digits $(ARGS)
	$(PY) upload_model.py served_model=cartpole $(ARGS)
	$(PY) -m demo predict $(ARGS)

demo_triton: setup ## make and serve the sample models of Triton's client examples
	$(PY) -m demo triton $(ARGS)
	$(PY) -m stack up $(ARGS)
	$(PY) upload_model.py served_model=simple $(ARGS)
	$(PY) upload_model.py served_model=simple_int8 $(ARGS)
	$(PY) upload_model.py served_model=simple_string $(ARGS)
	$(PY) upload_model.py served_model=simple_identity $(ARGS)
	$(PY) upload_model.py served_model=custom_identity_int32 $(ARGS)
	$(PY) upload_model.py served_model=simple_image $(ARGS)
	$(PY) upload_model.py served_model=densenet_onnx $(ARGS)

test: lint ## lint and tests, 15 to 23 minutes
	$(PY) -m pytest -n 2 $(ARGS)

test_slow: setup ## longer tests: a kill -9 at every step of a rollout, swaps under load
	$(PY) -m pytest -m slow $(ARGS)

test_ray: setup ## tests of engine=ray, on a cluster of three nodes too; installs Ray if it is missing
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	MARINA_ENGINE=ray $(PY) -m pytest tests/e2e $(ARGS)
	MARINA_ENGINE=ray $(PY) -m pytest -m ray $(ARGS)

test_containers: setup ## build every image, run the stack in containers and break each part; needs Docker
	@$(PYTHON) -m stack.setup compose
	$(PY) -m pytest -m containers tests/containers $(ARGS)

lint: setup ## ruff, mypy, and hadolint over the Dockerfiles
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m mypy .
	.venv/bin/hadolint docker/Dockerfile.* docker/bases/Dockerfile.*

train_demo: setup ## train the two demo models; needs no download
	$(PY) -m demo train $(ARGS)

download_weights: setup ## MODEL=name: download the checkpoint and check its sha256; resumes an interrupted download
	$(PY) -m serialize.download $(or $(ONE),--all) $(ARGS)

generate_mar: setup ## MODEL=name (default: all): checkpoint -> artifact -> model_mars/<name>.mar
	$(PY) -m serialize $(or $(ONE),--all) $(ARGS)

up: setup ## start TorchServe, file browser and gateway in the background; returns when all are ready
	$(PY) -m stack up $(ARGS)

down: setup ## stop the stack
	$(PY) -m stack down $(ARGS)

status: setup ## print which parts run, and where
	$(PY) -m stack status $(ARGS)

logs: setup ## follow the logs of all parts
	$(PY) -m stack logs $(ARGS)

run_ts: setup ## TorchServe in the foreground
	$(PY) -m stack run torchserve $(ARGS)

run_nginx_filebrowser: setup ## the file browser in the foreground
	$(PY) -m stack run filebrowser $(ARGS)

run_app: setup ## the gateway in the foreground
	$(PY) -m stack run gateway $(ARGS)

adopt: setup ## MAR_FILE=theirs.mar or TORCHSERVE=http://127.0.0.1:8081, SAMPLES=folder trust=yes: take archives of TorchServe
	$(PY) -m delivery adopt $(if $(TORCHSERVE),$(RUNNING),"$(MAR_FILE)" "$(SAMPLES)") $(if $(MODEL),model=$(MODEL)) \
	  $(if $(golden),golden=$(golden)) $(if $(trust),trust=$(trust)) $(ARGS)

upload_mar_file: setup ## MAR_FILE=path: put one archive into the store
	$(PY) -m delivery put $(MAR_FILE) $(ARGS)

upload_model: setup ## MODEL=name: roll the archive out to TorchServe
	$(PY) upload_model.py $(ONE) $(ARGS)

rollback: setup ## MODEL=name: back to the version before
	$(PY) -m delivery rollback $(ONE) $(ARGS)

models: setup ## list registered versions: weights, workers, queue, batch settings, age
	$(PY) -m delivery models $(ARGS)

doctor: setup ## list the open risks of the running deployment and the settings that close them
	$(PY) -m delivery doctor $(ARGS)

edge: setup ## MODEL=name: compile a policy into nginx and serve it on port 5005
	@$(PYTHON) -m stack.setup --edge
	$(PY) -m edge $(ONE) $(ARGS)

build_edge: ## images of the policy edge: nginx, and the compiler of its module
	$(BUILD) -f docker/Dockerfile.edge --target module -t marina-edge-module .
	$(BUILD) -f docker/Dockerfile.edge -t marina-edge .

run_edge: setup ## MODEL=name: the policy edge in its container, on port 5005; a second call reloads it
	$(PY) -m edge export .marina/edge_image $(ONE) $(ARGS)
	$(PY) -m stack.edge_container .marina/edge_image $(ARGS)

run_stress: setup ## MODEL=name: load the running stack and write a report
	$(PY) stress.py $(ONE) $(ARGS)

tune: setup ## MODEL=name slo=p99:80ms: find workers, threads and batch settings for a latency goal
	$(PY) -m loadtest.tune $(ONE) $(if $(slo),slo=$(slo)) $(ARGS)

build_ts_cpu: ## image of TorchServe for CPUs; TORCH_INDEX= names an index of CPU wheels
	@$(if $(TORCH_INDEX),,$(PYTHON) -m stack.torch_download $@)
	$(BUILD) -f docker/Dockerfile.torchserve --build-arg TORCH_INDEX=$(TORCH_INDEX) -t marina-torchserve:cpu .

build_ts_cuda: ## image of TorchServe for GPUs; CUDA_VERSION= the one that torch must be made for
	$(BUILD) -f docker/Dockerfile.torchserve --build-arg TORCH_INDEX=$(TORCH_INDEX) --build-arg CUDA_VERSION=$(CUDA_VERSION) -t marina-torchserve:cuda .

build_ray: ## image of engine=ray for a cluster; TORCH_INDEX= as above; for GPUs ARGS="--build-arg CUDA_VERSION=..."
	@$(if $(TORCH_INDEX),,$(PYTHON) -m stack.torch_download $@)
	$(BUILD) -f docker/Dockerfile.ray --build-arg TORCH_INDEX=$(TORCH_INDEX) -t $(RAY_IMAGE) $(ARGS) .

build_bases: ## base images from Debian's packages, for networks without a registry; needs root and debootstrap
	$(PYTHON) -m stack.bases

build_images: ## all images of the stack in containers, TorchServe's for CPUs; TORCH_INDEX= as above
	@$(PYTHON) -m stack.docker_plugins
	@$(if $(TORCH_INDEX),,$(PYTHON) -m stack.torch_download $@)
	MARINA_UID=$$(id -u) MARINA_GID=$$(id -g) $(COMPOSE) --profile edge build $(ARGS)

sbom: setup ## write the packages of each image to sbom/, Python's as CycloneDX, and print its size
	$(PY) -m stack.sbom sbom $(TORCHSERVE_IMAGE) $(or $(GATEWAY_IMAGE),marina-gateway) $(or $(DELIVERY_IMAGE),marina-delivery) \
	  $(or $(FILEBROWSER_IMAGE),marina-filebrowser) $(or $(EDGE_IMAGE),marina-edge) $(or $(EDGE_MODULE_IMAGE),marina-edge-module) $(ARGS)

compose_secrets: setup ## make the missing passwords, keys and folders of the stack in containers
	$(PY) -m stack.compose

compose_up: setup ## start the stack in containers and wait until it is healthy; PROFILES=core,observability,...
	@$(READY)
	$(COMPOSE) up -d --wait $(ARGS)

compose_update: setup ## replace the gateways one by one, without losing a request, for a new image or new settings
	@$(READY)
	for each in gateway-spare gateway; do $(COMPOSE) up -d --no-deps --force-recreate --wait "$$each" || exit 1; done

compose_down: setup ## stop the stack in containers; its data stays
	@$(OWN)
	$(COMPOSE) --profile '*' down $(ARGS)

compose_upload: setup ## MODEL=name: roll an archive of model_mars/ out in the containers
	@$(READY)
	$(DELIVER) upload_model.py $(ONE) $(MARINA_STORE) $(ARGS)

compose_rollback: setup ## MODEL=name: back to the version before, in the containers
	@$(OWN)
	$(DELIVER) -m delivery rollback $(ONE) $(MARINA_STORE) $(ARGS)

compose_edge: setup ## MODEL=name: compile a new policy for the edge of the containers, and reload it
	@$(READY)
	$(PY) -m edge export .marina/edge_image $(ONE) $(ARGS) && $(READY)
	$(COMPOSE) --profile edge run --rm edge-module
	$(COMPOSE) --profile edge kill -s HUP edge

kubernetes_render: ## OVERLAY=core: print the manifests of this overlay, after `make compose_secrets`; needs kubectl
	@$(PY) -m stack.kubernetes $(OVERLAY)

kubernetes_apply: compose_secrets ## OVERLAY=core: apply its manifests to the cluster of kubectl
	$(PY) -m stack.kubernetes $(OVERLAY) | $(KUBECTL) apply -f -

run_ts_cpu: setup ## TorchServe in its container, in place of `make run_ts`
	$(PY) -m stack.torchserve_container $(TORCHSERVE_IMAGE) $(ARGS)

run_ts_cuda: setup ## TorchServe for GPUs in its container, with every GPU of this machine
	$(PY) -m stack.torchserve_container $(TORCHSERVE_CUDA_IMAGE) --gpus $(ARGS)

bench_tune: setup ## measure the search of make tune beside the full grid
	$(PY) -m bench.tune --write docs/performance.md $(ARGS)

bench: setup ## measure Marina beside its peers; --only NAME,... and --rounds N in ARGS
	$(PY) -m bench.peers --write docs/performance.md $(ARGS)

bench_handlers: setup ## measure TorchServe with Marina's handlers, with its own, and without a server
	$(PY) -m bench.handlers --write docs/performance.md $(ARGS)

bench_growth: setup ## measure the cost of more clients, larger pictures, more models and larger batches
	$(PY) -m bench.growth --write docs/performance.md $(ARGS)

bench_gateway: setup ## measure the gateway beside TorchServe alone
	$(PY) -m bench.gateway --write docs/performance.md $(ARGS)

bench_tracing: train_demo ## measure the cost of traces in a worker
	$(PY) -m serialize served_model=cartpole
	$(PY) -m bench.tracing --write docs/observability.md $(ARGS)

bench_swaps: setup ## measure twenty swaps under load, on the running stack with both demo models
	$(PY) -m bench.swaps --write docs/performance.md $(ARGS)

bench_edge: train_demo ## measure the policy edge beside nginx, Rust, TorchServe and FastAPI
	$(PY) -m serialize served_model=cartpole
	$(PY) -m bench.edge --write docs/performance.md $(ARGS)

bench_capacity: setup ## measure the cost of a request in each part, for docs/scale.md
	$(PY) -m bench.capacity measure --costs docs/figures/capacity.json --write docs/scale.md $(ARGS)

bench_engines: setup ## measure engine=ray beside engine=torchserve; installs Ray if it is missing
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	$(PY) -m bench.engines --write docs/performance.md $(ARGS)
