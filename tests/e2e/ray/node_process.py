"""`python node_process.py GCS_ADDRESS NAME CPUS`: one Ray node on loopback, until it is ended.

`ray start` joins no head on loopback, so the node is made as Ray's own cluster tests make theirs.
"""

import os
import signal
import sys
import tempfile

READY = "the node has joined"


def main(address: str, name: str, cpus: str) -> None:
    # Imported here: who collects the tests reads this file, and may have no Ray.
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    # Names of its own: those that Ray picks are the same for two nodes that start together.
    sockets = f"{tempfile.gettempdir()}/{name}-{os.getpid()}"
    params = RayParams(
        plasma_store_socket_name=f"{sockets}.plasma",
        raylet_socket_name=f"{sockets}.raylet",
        gcs_address=address,
        node_ip_address="127.0.0.1",
        num_cpus=float(cpus),
        resources={name: 1},
        object_store_memory=100_000_000,
        min_worker_port=0,
        max_worker_port=0,
        include_log_monitor=False,
    )
    Node(params, head=False, shutdown_at_exit=True)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
