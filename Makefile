# Every target takes Hydra overrides in ARGS, e.g. make up ARGS="gateway.port=5010".
PYTHON ?= python3
MODEL ?=
ARGS ?=
CUDA_VERSION ?= 12.8
TORCH_INDEX ?=
PY := .venv/bin/python
IN_CONTAINER := docker run --rm --init --network host --user $$(id -u):$$(id -g) --read-only --tmpfs /tmp:exec \
  --cap-drop ALL --security-opt no-new-privileges -v "$(CURDIR)/.marina/torchserve:/var/lib/torchserve"
comma := ,
PROFILES ?= core,observability
# Without Grafana the console has no link to it.
COMPOSE := $(if $(findstring observability,$(PROFILES)),,MARINA_GRAFANA_URL= )docker compose -f docker/compose.yaml $(addprefix --profile ,$(subst $(comma), ,$(PROFILES)))
S3 := store=s3 store.endpoint=http://minio:9000 store.local_folder=null store.credentials=/run/secrets/s3.json
# Which store containers deliver to; read by docker/compose.yaml as well.
export MARINA_STORE ?= $(if $(findstring s3,$(PROFILES)),$(S3),store=nginx)
DELIVER := $(COMPOSE) exec delivery python
OVERLAY ?= core
KUSTOMIZE ?= kubectl kustomize
ONE := $(if $(MODEL),served_model=$(MODEL))

.DEFAULT_GOAL := help
.PHONY: help setup demo test test_slow test_ray lint train_demo download_weights generate_mar up down status logs \
  run_ts run_nginx_filebrowser run_app upload_mar_file upload_model rollback models doctor run_stress tune \
  build_ts_cpu build_ts_cuda build_ray build_images sbom run_ts_cpu run_ts_cuda compose_secrets compose_up compose_down \
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

test: lint ## lint and tests, some 12 minutes
	$(PY) -m pytest -n 2 $(ARGS)

test_slow: setup ## longer tests: a kill -9 at every step of a rollout, swaps under load
	$(PY) -m pytest -m slow $(ARGS)

test_ray: setup ## tests of engine=ray, on a cluster of three nodes too; installs Ray if it is missing
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	MARINA_ENGINE=ray $(PY) -m pytest tests/e2e $(ARGS)
	MARINA_ENGINE=ray $(PY) -m pytest -m ray $(ARGS)

lint: setup ## ruff, mypy, and hadolint over the Dockerfiles
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m mypy .
	.venv/bin/hadolint docker/Dockerfile.*

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
	docker build -f docker/Dockerfile.edge --target module -t marina-edge-module .
	docker build -f docker/Dockerfile.edge -t marina-edge .

run_edge: setup ## MODEL=name: the policy edge in its container, on port 5005; a second call reloads it
	$(PY) -m edge export .marina/edge_image $(ONE) $(ARGS)
	docker run --rm --user $$(id -u):$$(id -g) --network none --read-only --tmpfs /tmp --cap-drop ALL \
	  --security-opt no-new-privileges -v "$(CURDIR)/.marina/edge_image:/srv/edge" marina-edge-module
	docker kill -s HUP marina-edge 2>/dev/null || docker run --name marina-edge --rm --init -p 127.0.0.1:5005:5005 \
	  --read-only --tmpfs /run/marina --cap-drop ALL --security-opt no-new-privileges \
	  -v "$(CURDIR)/.marina/edge_image:/srv/edge:ro" marina-edge

run_stress: setup ## MODEL=name: load the running stack and write a report
	$(PY) stress.py $(ONE) $(ARGS)

tune: setup ## MODEL=name slo=p99:80ms: find workers, threads and batch settings for a latency goal
	$(PY) -m loadtest.tune $(ONE) $(if $(slo),slo=$(slo)) $(ARGS)

build_ts_cpu: ## image of TorchServe for CPUs; TORCH_INDEX= names an index of CPU wheels
	docker build -f docker/Dockerfile.torchserve --build-arg TORCH_INDEX=$(TORCH_INDEX) -t marina-torchserve:cpu .

build_ts_cuda: ## image of TorchServe for GPUs; CUDA_VERSION= the one that torch must be made for
	docker build -f docker/Dockerfile.torchserve --build-arg TORCH_INDEX=$(TORCH_INDEX) --build-arg CUDA_VERSION=$(CUDA_VERSION) -t marina-torchserve:cuda .

build_ray: ## image of engine=ray for a cluster; TORCH_INDEX= as above, ARGS="--build-arg CUDA_VERSION=..." for GPUs
	docker build -f docker/Dockerfile.ray --build-arg TORCH_INDEX=$(TORCH_INDEX) -t marina-ray $(ARGS) .

build_images: ## every image that docker/compose.yaml builds, TorchServe's for CPUs
	$(COMPOSE) --profile edge build $(ARGS)

sbom: ## list the contents of each image as SPDX files in sbom/; needs syft
	@mkdir -p sbom
	for image in torchserve:cpu gateway delivery filebrowser edge; do syft -q -o spdx-json "marina-$$image" >"sbom/$${image%%:*}.spdx.json" || exit 1; done

compose_secrets: setup ## make passwords, keys and folders for the stack in containers; existing ones are kept
	$(PY) -m stack.compose

compose_up: compose_secrets ## start the stack in containers; PROFILES=core,s3,observability,edge or gpu,...; returns when all parts are healthy
	$(COMPOSE) up -d --wait $(ARGS)

compose_down: ## stop it; data stays in docker/data
	$(COMPOSE) --profile '*' down $(ARGS)

compose_upload: ## MODEL=name: roll an archive of model_mars/ out inside the containers
	$(DELIVER) upload_model.py $(ONE) $(MARINA_STORE) $(ARGS)

compose_rollback: ## MODEL=name: back to the version before, inside the containers
	$(DELIVER) -m delivery rollback $(ONE) $(MARINA_STORE) $(ARGS)

compose_edge: setup ## MODEL=name: compile the policy for the edge that runs in its container, and reload it
	$(PY) -m edge export .marina/edge_image $(ONE) $(ARGS)
	$(COMPOSE) --profile edge run --rm edge-module
	$(COMPOSE) --profile edge kill -s HUP edge

kubernetes_render: ## OVERLAY=core, s3, gpu, upload, ray, rayservice: the manifests, after `make compose_secrets`; needs kubectl
	@$(KUSTOMIZE) --load-restrictor LoadRestrictionsNone docker/kubernetes/overlays/$(OVERLAY)

kubernetes_apply: compose_secrets ## apply these manifests to the cluster of kubectl
	$(KUSTOMIZE) --load-restrictor LoadRestrictionsNone docker/kubernetes/overlays/$(OVERLAY) | kubectl apply -f -

run_ts_cpu: ## TorchServe in its container, in place of `make run_ts`
	mkdir -p .marina/torchserve/model_store
	$(IN_CONTAINER) marina-torchserve:cpu

run_ts_cuda: ## the same with every GPU of this machine
	mkdir -p .marina/torchserve/model_store
	$(IN_CONTAINER) --gpus all marina-torchserve:cuda

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
