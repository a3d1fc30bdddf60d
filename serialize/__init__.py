"""The build path: checkpoint → network → artifact → parity with the framework → .mar.

    checkpoints   where the checkpoint is, or the command that gets it
    vision, sb3   checkpoint → Source: network, its description, what the model card says of it
    formats       network → artifact, one file a format
    golden        requests, the framework's answers, and the parity gate
    archive       everything → NAME.mar, reproducibly and atomically
    build         the steps in their order

It may import `handlers`, to check what a worker would answer; nothing on the answer path imports it.
"""
