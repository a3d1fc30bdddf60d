"""The build path: checkpoint → network → artifact → parity with the framework → .mar.

    checkpoints   where the checkpoint is, or the command that gets it
    vision, sb3   checkpoint → Source: network, its description, what the model card says of it
    formats       network → artifact, one file a format
    golden        requests, the framework's answers, and the parity gate
    archive       everything → NAME.mar, reproducibly and atomically
    build         the steps in their order

It may import `handlers`, to check what a worker would answer; nothing on the answer path imports it.
"""

import os

# ONNX Runtime's Linux builds report their use to its maker and leave an id in the temporary folder, unless this is set
# before they are imported (see its Privacy.md); a user who sets it otherwise is left alone.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
