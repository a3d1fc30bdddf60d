"""What runs inside a TorchServe worker: reads requests, runs the network, words the answers.

    row ── rows ──▶ payload ── pictures, preprocessing ─┐
                            └─ observations, spaces ────┴▶ batch ── runtimes ──▶ outputs ── answers ──▶ JSON

The archive carries this package whole, so it imports nothing but itself and what the worker has installed.
"""
