"""Builds one archive, step by step.

    checkpoint ──▶ LoadedModel ──export──▶ artifact ──library, golden answers, parity──▶ model folder ──pack──▶ NAME.mar

Unfinished files stay in a private folder beside the archive, which is removed when the build ends.
"""

import functools
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from archive import Archive
from errors import BuildError
from files import explained, staging_folder
from handlers import card as cards
from handlers.model_handler import ModelHandler
from serialize.calibration import calibration_inputs, load_images
from serialize.checkpoints import ROOT, locate
from serialize.decode_level import select_decode
from serialize.formats import FORMATS, Format
from serialize.formats.onnx import NotExportable
from serialize.library_parity import LibraryAgreement, check_library
from serialize.loaded_model import LoadedModel
from serialize.model_json import model_card, parity_card
from serialize.offline_handler import has_own_processing, load_runtime, reading_handler
from serialize.pack import ArchiveContents, archive_files, json_bytes, pack, write_model_folder
from serialize.parity import (
    ParityResult,
    check_parity,
    comparable_references,
    golden_answers,
    golden_requests,
    keep_accurate,
    tolerance_of,
)
from serialize.policy_loader import read_policy
from serialize.preprocessing_preset import resolve
from serialize.reference import Reference
from serialize.tensors_loader import GRAPHS, read_tensors
from serialize.vision_loader import read_vision
from settings import Settings
from settings.schema import BuiltModel, PolicyModel, TensorsModel, VisionModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """A finished archive and the differences between its answers and the framework's.

    `library` is the comparison with Stable-Baselines3 itself, or the reason why there was none; None for other models
    than policies. `replaced` says why the artifact is another one than the settings name.
    """

    archive: Archive
    parity: ParityResult
    library: LibraryAgreement | str | None
    replaced: str | None = None


def build(settings: Settings) -> BuildResult:
    """Build {paths.archives}/{model_name}.mar for the configured model.

    An existing archive of that name stays until the new one is complete. Raises WeightsMissing, BuildError and
    ParityError.
    """
    model = resolve(settings.built_model)
    # One thread: the order in which several cores add up must not influence the bytes.
    torch.set_num_threads(1)
    checkpoint = None if model.weights == "random" else locate(model, settings.paths)
    logger.info("%s: reading %s", model.model_name, checkpoint or "random weights")
    loaded = load_model(model, checkpoint)
    archives = ROOT / settings.paths.archives
    target = archives / f"{model.model_name}.mar"
    with _room_for(target, checkpoint), staging_folder(archives, model.model_name) as work:
        loaded = with_calibration(model, loaded, checkpoint, work)
        logger.info("%s: exporting as %s", model.model_name, model.artifact)
        artifact, card = export(model, loaded, checkpoint, work)
        logger.info("%s: computing the golden answers in the framework", model.model_name)
        checked = read_back(card, work)
        handler = reading_handler(ROOT / model.handler, checked)
        references = golden_references(loaded, model, handler, work)
        library = compare_with_library(settings, loaded, checkpoint, handler, work)
        card["parity"] = parity_card(library, loaded.framework, len(references), tolerance_of(checked))
        contents = ArchiveContents(
            model_name=model.model_name,
            version=model.version,
            handler=ROOT / model.handler,
            artifact=artifact,
            card=card,
            golden=golden_answers(references, checked),
            signing_key=Path(settings.signing.key) if settings.signing.key else None,
            network_files=loaded.files if "network" in card["artifact"] else {},
        )
        files = archive_files(contents)
        folder = write_model_folder(files, work / "model")
        logger.info("%s: comparing the artifact with the framework", model.model_name)
        parity = check_parity(folder, contents.handler.name, references)
        logger.info("%s: packing", model.model_name)
        return BuildResult(pack(contents, files, work, target), parity, library, _replaced(card["artifact"]))


def _replaced(artifact: dict[str, Any]) -> str | None:
    asked = artifact.get("instead_of")
    return None if asked is None else f"{artifact['format']} instead of {asked}: {artifact['reason']}"


@contextmanager
def _room_for(target: Path, checkpoint: Path | None) -> Iterator[None]:
    """Turn an error of the file system into a DiskError about the archive, also one that PyTorch hides."""
    # The artifact, the folder in which it is checked, and the archive.
    needs = 3 * checkpoint.stat().st_size if checkpoint is not None and checkpoint.is_file() else None
    with explained(target, needs):
        try:
            yield
        except RuntimeError as error:
            raise next(_hidden(error), error) from None


def _hidden(error: BaseException) -> Iterator[OSError]:
    behind = error.__context__
    while behind is not None:
        if isinstance(behind, OSError):
            yield behind
        behind = behind.__context__


def load_model(model: BuiltModel, checkpoint: Path | None) -> LoadedModel:
    """Load the network of `model`, with the weights of `checkpoint` or random ones."""
    match resolve(model):
        case VisionModel() as vision:
            return read_vision(vision, checkpoint)
        case PolicyModel() as policy:
            return read_policy(policy, checkpoint)
        case TensorsModel() as tensors:
            return read_tensors(tensors, checkpoint)
        case other:
            raise BuildError(f"{other.model_name}: no loader for kind {other.kind}")


def with_calibration(model: BuiltModel, loaded: LoadedModel, checkpoint: Path | None, work: Path) -> LoadedModel:
    """Return an image model with its decode level and, where it answers with classes, its calibration inputs."""
    if not isinstance(model, VisionModel):
        return loaded
    images = functools.cache(lambda: load_images(model))
    own = has_own_processing(_early_handler(model, loaded, checkpoint, work))
    decided = replace(loaded, card=loaded.card | select_decode(model, loaded, images, own))

    handler = _early_handler(model, decided, checkpoint, work)
    if not handler.card.output.first_label:
        return decided
    return replace(decided, calibration=lambda: calibration_inputs(model, images(), handler))


def golden_references(loaded: LoadedModel, model: BuiltModel, handler: ModelHandler, work: Path) -> list[Reference]:
    """Return the framework's answers to the golden requests; for `onnx-int8`, those that the artifact reproduces."""
    if "quantisation" not in handler.card.document["artifact"]:
        return comparable_references(loaded, model, golden_requests(loaded, model), handler)
    assert isinstance(model, VisionModel)
    found = comparable_references(loaded, model, list(load_images(model).requests[1::2]), handler, rounded=True)
    return keep_accurate(found, handler, work)


def compare_with_library(
    settings: Settings, loaded: LoadedModel, checkpoint: Path | None, handler: ModelHandler, work: Path
) -> LibraryAgreement | str | None:
    """Compare a policy's answers, with the artifact in `work`, with those of the library that wrote its checkpoint."""
    model = settings.built_model
    if not isinstance(model, PolicyModel):
        return None
    handler.model = load_runtime(work, handler.card)
    logger.info("%s: computing Stable-Baselines3's own answers", model.model_name)
    return check_library(model, loaded, checkpoint, handler, work, settings.parity)


def export(model: BuiltModel, loaded: LoadedModel, checkpoint: Path | None, work: Path) -> tuple[Path, dict[str, Any]]:
    """Write the artifact into `work`; return its path and the model card."""
    formats: Mapping[str, Format] = {**FORMATS, **GRAPHS} if isinstance(model, TensorsModel) else FORMATS
    form = formats[model.artifact]
    try:
        details = form.export(loaded, work / form.file)
    except NotExportable as error:
        logger.warning("%s: served as torchscript instead of %s: %s", model.model_name, form.name, error)
        (work / form.file).unlink(missing_ok=True)
        form = FORMATS["torchscript"]
        details = form.export(loaded, work / form.file) | {"instead_of": model.artifact, "reason": str(error)}
    return work / form.file, model_card(model, loaded, form, details, checkpoint)


def read_back(card: dict[str, Any], work: Path) -> cards.Card:
    """Return the card as the worker will read it, which also checks it."""
    path = work / "model.json"
    path.write_bytes(json_bytes(card))
    return cards.load(path)


def _early_handler(model: VisionModel, loaded: LoadedModel, checkpoint: Path | None, work: Path) -> ModelHandler:
    """Return the handler for a card without artifact details, which is enough to read images."""
    card = model_card(model, loaded, FORMATS[model.artifact], {}, checkpoint)
    return reading_handler(ROOT / model.handler, read_back(card, work))
