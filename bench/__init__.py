"""Marina measured from outside: each program is one command that prints Markdown tables, ratios and wanted values.

    python -m bench.handlers   a worker: Marina's handlers, TorchServe's own, no server at all
    python -m bench.forward    int8 beside float32
    python -m bench.peers      the whole path beside its peers: one row a peer in bench/peers/table.py
    python -m bench.growth     more clients, larger pictures, more models, larger batches
    python -m bench.gateway    the gateway beside TorchServe alone, its own code beside libraries
    python -m bench.edge       the policy edge beside nginx, Rust, TorchServe and FastAPI
    python -m bench.swaps      rollouts under load
    python -m bench.capacity   the cost of a request in each part, and the machines that a load needs
    python -m bench.engines    Ray Serve beside TorchServe
    python -m bench.tracing    the cost of traces in a worker
    python -m bench.tune       the search for settings beside the full grid

A measurement goes through these modules:

    options ──▶ assets, samples ──▶ local_stack, engine_nodes ──▶ targets ──▶ driver ──▶ tables, document
    command     models, inputs      servers                       checks      load       docs/
"""
