"""The code that runs inside a TorchServe worker: it reads requests, runs the network and encodes predictions.

    row ── request_body ┬─ image_request, image_decode, image_preprocess ─┐
                        ├─ observations, spaces ──────────────────────────┤
                        └─ tensor_requests, tensor_records, signature ────┴▶ batch ── runtimes ── outputs ──▶ JSON

The archive holds this whole package, so it imports nothing else of the project.
"""

import os

# ONNX Runtime's Linux builds send usage data to its maker and leave an id in the temporary folder, unless this variable
# is set before the import. A value that the user sets is kept.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
