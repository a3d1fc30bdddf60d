"""What runs inside a TorchServe worker: reads requests, runs the network, words the answers.

    row ── rows ──▶ payload ── pictures, preprocessing ─┐
                            └─ observations, spaces ────┴▶ batch ── runtimes ──▶ outputs ── answers ──▶ JSON

The archive carries this package whole, so it imports nothing but itself and what the worker has installed.
"""

import os

# ONNX Runtime's Linux builds report their use to its maker and leave an id in the temporary folder, unless this is set
# before they are imported, as TorchServe's BaseHandler does; a user who sets it otherwise is left alone.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
