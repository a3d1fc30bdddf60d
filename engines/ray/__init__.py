"""Ray Serve as the placement of the engine in Python: the archives that TorchServe takes, on one machine or on many.

    client ──HTTP──▶ ServeFrontend ── BatchSender ──▶ ServeWorker
                     one or several replicas          replicas of one application a version
    delivery ──▶ ManagementApi ──▶ ModelManager ──▶ Cluster ──▶ Serve's controller

Ray places the workers, restarts them, balances between them and drains those that go.
"""
