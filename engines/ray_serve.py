"""Ray Serve as an engine of the kit: the application in `engines/ray/` speaks TorchServe's two interfaces.

So whatever works with the one works with the other, and only these facts differ.
"""

from dataclasses import replace

from engines.torchserve.engine import FACTS as TORCHSERVE

FACTS = replace(
    TORCHSERVE,
    title="Ray Serve",
    part="ray",
    package="ray",
    requirements="requirements-ray.txt",
    worker_program=":Worker",  # a replica is called after its application and its deployment
    change_s=180.0,  # it goes by the controller to every node, and a removal waits for the last answer
    keeps_failed_fetches=False,
    compares_archives=True,
)
