"""An engine in Python, free of Ray: TorchServe's two APIs, its batching, and workers that run TorchServe's handlers.

    client ──HTTP──▶ Frontend ── VersionQueue ── one batch ──▶ Worker ──▶ handle(data, context)
                     keys         one a version                  archive unpacked, handler loaded
    delivery ──ManagementApi──▶ ModelManager ──▶ Placement: workers of each version, and the Frontend's registry

A placement decides where the processes run, restarts them and drains those that go; `engines/ray/` is one.
"""
