"""Where the checkpoint of a model is, and which command gets one that is missing."""

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from errors import BuildError, WeightsMissing
from settings.schema import Paths, PolicyModel, VisionModel

ROOT = Path(__file__).resolve().parent.parent
TRAINED_HERE = ("digits", "cartpole")  # what `make train_demo` makes


def is_url(checkpoint: str) -> bool:
    """Whether the checkpoint is fetched by `make download_weights`."""
    return checkpoint.startswith(("http://", "https://"))


def place(model: VisionModel | PolicyModel, paths: Paths, root: Path = ROOT) -> Path:
    """Where the checkpoint belongs, there or not: a URL's in {paths.weights}/{model_name}{suffix of the URL}."""
    if not is_url(model.checkpoint):
        return root / Path(model.checkpoint).expanduser()
    suffix = PurePosixPath(urlsplit(model.checkpoint).path).suffix
    return root / paths.weights / f"{model.model_name}{suffix}"


def locate(model: VisionModel | PolicyModel, paths: Paths, root: Path = ROOT) -> Path:
    """The checkpoint, checked against the configured sha256.

    Raises WeightsMissing with the command that gets it, BuildError when it is another file than the configured one, or
    one that cannot be read.
    """
    path = place(model, paths, root)
    try:
        if not path.exists():
            raise WeightsMissing(f"{model.model_name}: no weights at {path}; {remedy(model, path)}")
        if not path.is_file():
            raise BuildError(f"{path} is not a file; set served_model.checkpoint to the file with the weights")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}; set served_model.checkpoint to a file that can be read") from None
    if model.sha256 is not None and not (found := sha256_of(path)).startswith(model.sha256):
        raise BuildError(f"{path} has sha256 {found}, served_model.sha256 is {model.sha256}; {remedy(model, path)}")
    return path


def remedy(model: VisionModel | PolicyModel, path: Path) -> str:
    """The words that tell a user how to get the weights of `model`."""
    if is_url(model.checkpoint):
        return f"get them with: make download_weights MODEL={model.model_name}"
    if model.model_name in TRAINED_HERE:
        return "get them with: make train_demo"
    return f"put your checkpoint at {path} or set served_model.checkpoint=PATH"


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
