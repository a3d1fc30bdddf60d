"""The build path: checkpoint → network → artifact → parity with the framework → .mar.

    checkpoints                  the checkpoint's path, its download, or the command that provides it
    vision_loader, policy_loader checkpoint → LoadedModel: network, specification, part of the model card
    formats                      network → artifact, one file per format
    reference, parity            golden requests, the framework's answers, and the parity gate
    library_parity               the gate against Stable-Baselines3 itself
    pack                         card, answers, artifact, handlers → NAME.mar, reproducibly and atomically
    build                        these steps in their order

This room may import `handlers`, to check the answers of a worker. Nothing on the answer path imports it.
"""

import os

# ONNX Runtime's Linux builds send usage data to its maker and leave an id in the temporary folder, unless this variable
# is set before the import (see its Privacy.md). A user's own value stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
