"""Marina measured from outside: each program is one command that prints Markdown tables, ratios and wanted values.

    python -m bench.handlers   a worker: Marina's handlers, TorchServe's own, no server at all
    python -m bench.peers      the whole path beside its peers, one folder a peer in bench/peers
    python -m bench.growth     more clients, larger pictures, more models, larger batches
    python -m bench.gateway    the gateway beside TorchServe alone
    python -m bench.edge       the policy edge beside nginx, Rust, TorchServe and FastAPI
    python -m bench.swaps      rollouts under load
    python -m bench.capacity   what a request costs each part, and how many machines a load needs
    python -m bench.engines    Ray Serve beside TorchServe
    python -m bench.tracing    what traces cost a worker
    python -m bench.tune       the search for settings beside the full grid

What they share: `options` reads what is asked for, `client` and `drive` put the load on, `targets` and `pictures` make
what is sent, `answers` says what is right, `assets` makes the model in every form, `server` starts and ends a server,
`ground` a stack, sides of a comparison take `turns`, and `figures`, `machine` and `document` write it down.
"""
