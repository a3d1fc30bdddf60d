"""Archives of every kind that torch-model-archiver makes, with a sample each; none needs a download."""

import io
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from tests.archive.foreign_archives import PARROT, handler_file, make_archive, workflow
from tests.e2e import foreign_models as sources

NO_WORDS: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignCase:
    """An archive: how to make it in a folder, the samples by file name, and what adopting it needs.

    Its canary takes `trial_minutes`: longer where an answer takes seconds on a busy machine.
    """

    name: str
    described: str
    make: Callable[[Path], Path]
    samples: Mapping[str, bytes] = field(repr=False)
    words: tuple[str, ...] = NO_WORDS
    requests: int = 40
    trial_minutes: float = 0.3
    refused: str | None = None


def png(size: tuple[int, int] = (96, 64)) -> bytes:
    """A picture that is the same on every machine."""
    pixels = bytes(
        (x * 5 + y * 3 + channel * 90) % 256 for y in range(size[1]) for x in range(size[0]) for channel in range(3)
    )
    file = io.BytesIO()
    Image.frombytes("RGB", size, pixels).save(file, "PNG")
    return file.getvalue()


def network(source: str) -> torch.nn.Module:
    """The source's network with weights that are random, and the same each time."""
    namespace: dict[str, type[torch.nn.Module]] = {}
    exec(source, namespace)
    torch.manual_seed(1)
    return namespace["Tiny"]().eval()


def _eager_words(folder: Path, source: str) -> list[str | Path]:
    """Write the network's file and its weights, and return the archiver's options for them."""
    torch.save(network(source).state_dict(), folder / "tiny.pth")
    return ["--model-file", handler_file(folder, source, "tiny.py"), "--serialized-file", folder / "tiny.pth"]


def _eager(name: str, handler: str, source: str, *, labels: str | None = None) -> Callable[[Path], Path]:
    """An archive with one of TorchServe's own handlers, a network's file and its weights."""

    def make(folder: Path) -> Path:
        words = _eager_words(folder, source)
        if labels is not None:
            (folder / "index_to_name.json").write_text(labels)
            words += ["--extra-files", folder / "index_to_name.json"]
        return make_archive(folder, name, handler, *words)

    return make


def _scripted(name: str, handler: str, source: str, example: torch.Tensor) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return make_archive(folder, name, handler, "--serialized-file", _traced(folder, source, example))

    return make


def _traced(folder: Path, source: str, example: torch.Tensor) -> Path:
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace  # which torch does not annotate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which such archives hold
        trace(network(source), example).save(str(folder / "tiny.pt"))
    return folder / "tiny.pt"


def _text(folder: Path) -> Path:
    # A word that is not in it has the number 0.
    torch.save(Counter({"good": 1, "day": 2, "good day": 3}), folder / "source_vocab.pt")
    (folder / "index_to_name.json").write_text('{"0": "World", "1": "Sports", "2": "Business", "3": "Science"}')
    extra = f"{folder / 'source_vocab.pt'},{folder / 'index_to_name.json'}"
    return make_archive(folder, "texts", "text_classifier", *_eager_words(folder, sources.TEXT), "--extra-files", extra)


def _function(name: str, text: str, archive_format: str = "default") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return make_archive(folder, name, handler_file(folder, text), archive_format=archive_format)

    return make


def _needing(folder: Path) -> Path:
    (folder / "requirements.txt").write_text(sources.NEEDED)
    handler = handler_file(folder, sources.NEEDING)
    return make_archive(folder, "needing", handler, "--requirements-file", folder / "requirements.txt")


def _with_folder(folder: Path) -> Path:
    (folder / "extra" / "palette").mkdir(parents=True)
    (folder / "extra" / "palette" / "colour.txt").write_text("orange\n")
    return make_archive(folder, "painter", handler_file(folder, sources.BYTES), "--extra-files", folder / "extra")


def _configured(folder: Path) -> Path:
    (folder / "model-config.yaml").write_text(sources.CONFIG)
    words = (*_eager_words(folder, sources.DOUBLING), "--config-file", folder / "model-config.yaml")
    return make_archive(folder, "configured", handler_file(folder, sources.CONFIGURED), *words)


def _numbers_model(folder: Path) -> Path:
    return _traced(folder, sources.DOUBLING, torch.zeros(1, 3))


def _doubler(folder: Path) -> Path:
    handler = handler_file(folder, sources.DOUBLER)
    return make_archive(folder, "doubler", handler, "--serialized-file", _numbers_model(folder))


def _addressed(folder: Path) -> Path:
    (folder / "requirements.txt").write_text("git+https://example.org/own.git\n")
    handler = handler_file(folder, PARROT)
    return make_archive(folder, "addressed", handler, "--requirements-file", folder / "requirements.txt")


NUMBERS = {"numbers.json": b'{"numbers": [1.0, 2.5, -3.0]}'}
PICTURE = {"picture.png": png()}
SAY = {"say.json": b'{"say": [1, 2.5]}', "text.txt": b"hello", "odd.json": b'{"status": 418}'}
FORM = b'--B\r\nContent-Disposition: form-data; name="one"\r\n\r\n1\r\n--B--\r\n'

CASES = (
    ForeignCase(
        "classifier",
        "`image_classifier`, TorchScript",
        _scripted("classifier", "image_classifier", sources.CLASSIFIER, torch.zeros(1, 3, 224, 224)),
        PICTURE,
    ),
    ForeignCase(
        "segmenter",
        "`image_segmenter`, eager",
        _eager("segmenter", "image_segmenter", sources.SEGMENTER),
        PICTURE,
        requests=10,
        trial_minutes=1.5,
    ),
    ForeignCase(
        "detector",
        "`object_detector`, torchvision's SSD",
        _eager("detector", "object_detector", sources.DETECTOR, labels='{"1": "cat", "2": "dog"}'),
        PICTURE,
    ),
    ForeignCase(
        "texts", "`text_classifier`, with a vocabulary", _text, {"text.txt": b"<b>Good day</b>, it's a match!"}
    ),
    ForeignCase("doubler", "a class derived from `BaseHandler`", _doubler, NUMBERS),
    ForeignCase(
        "parrot",
        "a function without a serialized file",
        _function("parrot", PARROT),
        {**SAY, "form.bin": FORM, "form.bin.type": b"multipart/form-data; boundary=B"},
    ),
    ForeignCase(
        "needing",
        "`requirements.txt` with two packages",
        _needing,
        {"text.txt": b"good :thumbs_up:"},
        words=("engine.requirements=allow",),
    ),
    ForeignCase("painter", "answers bytes; a folder in `--extra-files`", _with_folder, PICTURE),
    ForeignCase("sorter", "answers a list", _function("sorter", sources.LIST), {"list.json": b"[3, 1, 2]"}),
    ForeignCase("slow", "takes 0.7 s", _function("slow", sources.SLOW), {"number.json": b'{"number": 1}'}, requests=16),
    ForeignCase("configured", "`model-config.yaml`: batches, threads, `torch.compile`", _configured, NUMBERS),
    ForeignCase("packed", "`--archive-format tgz`", _function("packed", PARROT, "tgz"), SAY),
    ForeignCase("folder", "`--archive-format no-archive`", _function("folder", PARROT, "no-archive"), SAY),
    ForeignCase(
        "base",
        "`base_handler` alone, which reads no request",
        lambda folder: make_archive(folder, "base", "base_handler", "--serialized-file", _numbers_model(folder)),
        NUMBERS,
        refused="the handler fails with 503",
    ),
    ForeignCase(
        "addressed",
        "`requirements.txt` with the address of a repository",
        _addressed,
        NUMBERS,
        words=("engine.requirements=allow",),
        refused="which is no package by name and version",
    ),
    ForeignCase(
        "workflow",
        "a workflow (`.war`)",
        lambda folder: workflow(folder / "flow.war", "first.mar", "second.mar"),
        NUMBERS,
        refused="is a workflow, which chains models inside TorchServe",
    ),
)
