"""Ray Serve as the engine: the archives that TorchServe takes, on one machine or on many.

    client ──HTTP──▶ Front ── one batch ──▶ Worker ──▶ handle(data, context)
                     keys, batches, retries     a replica: archive unpacked, handler loaded
    delivery ──Management API──▶ Manager ──▶ Serve's controller: one application a version, and the Front's table

Front and Manager speak TorchServe's own Inference and Management API, so nothing in front of them knows the difference.
Ray places the workers, restarts them, balances between them and drains those that go.
"""
