"""Builds one archive, step by step.

    checkpoint ──▶ LoadedModel ──export──▶ artifact ──library, golden answers, parity──▶ model folder ──pack──▶ NAME.mar

Unfinished files stay in a private folder beside the archive, which is removed when the build ends.
"""

import functools
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from archive import Archive
from files import staging_folder
from handlers import card as cards
from handlers.model_handler import ModelHandler
from serialize.calibration import calibration_inputs, load_images
from serialize.checkpoints import ROOT, locate
from serialize.decode_level import select_decode
from serialize.formats import FORMATS
from serialize.library_parity import LibraryAgreement, check_library
from serialize.loaded_model import CalibrationInputs, LoadedModel
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
from serialize.reference import Reference
from serialize.vision_loader import read_vision
from settings import Settings
from settings.schema import PolicyModel, VisionModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildResult:
    """A finished archive and the differences between its answers and the framework's.

    `library` is the comparison with Stable-Baselines3 itself, or the reason why there was none; None for other models
    than policies.
    """

    archive: Archive
    parity: ParityResult
    library: LibraryAgreement | str | None


def build(settings: Settings) -> BuildResult:
    """Build {paths.archives}/{model_name}.mar for the configured model.

    An existing archive of that name stays until the new one is complete. Raises WeightsMissing, BuildError and
    ParityError.
    """
    model = settings.served_model
    # One thread: the order in which several cores add up must not influence the bytes.
    torch.set_num_threads(1)
    checkpoint = None if model.weights == "random" else locate(model, settings.paths)
    logger.info("%s: reading %s", model.model_name, checkpoint or "random weights")
    loaded = load_model(model, checkpoint)
    archives = ROOT / settings.paths.archives
    with staging_folder(archives, model.model_name) as work:
        loaded = with_calibration(model, loaded, checkpoint, work)
        logger.info("%s: exporting as %s", model.model_name, model.artifact)
        artifact, card = export(model, loaded, checkpoint, work)
        logger.info("%s: computing the golden answers in the framework", model.model_name)
        checked = read_back(card, work)
        handler = reading_handler(ROOT / model.handler, checked)
        references = golden_references(loaded, model, handler, work)
        library = compare_with_library(settings, loaded, checkpoint, handler, work)
        card["parity"] = parity_card(library, len(references), tolerance_of(checked))
        contents = ArchiveContents(
            model_name=model.model_name,
            version=model.version,
            handler=ROOT / model.handler,
            artifact=artifact,
            card=card,
            golden=golden_answers(references, checked),
            response_timeout_s=settings.engine.response_timeout_s,
            signing_key=Path(settings.signing.key) if settings.signing.key else None,
        )
        files = archive_files(contents)
        folder = write_model_folder(files, work / "model")
        logger.info("%s: comparing the artifact with the framework", model.model_name)
        parity = check_parity(folder, contents.handler.name, references)
        logger.info("%s: packing", model.model_name)
        return BuildResult(pack(contents, files, work, archives / f"{model.model_name}.mar"), parity, library)


def load_model(model: VisionModel | PolicyModel, checkpoint: Path | None) -> LoadedModel:
    """Load the network of `model`, with the weights of `checkpoint` or random ones."""
    return read_vision(model, checkpoint) if isinstance(model, VisionModel) else read_policy(model, checkpoint)


def with_calibration(
    model: VisionModel | PolicyModel, loaded: LoadedModel, checkpoint: Path | None, work: Path
) -> LoadedModel:
    """Return an image model with its decode level and its calibration inputs; a policy needs neither."""
    if not isinstance(model, VisionModel):
        return loaded
    images = functools.cache(lambda: load_images(model))
    own = has_own_processing(_early_handler(model, loaded, checkpoint, work))
    decided = replace(loaded, card=loaded.card | select_decode(model, loaded, images, own))

    def inputs() -> CalibrationInputs:
        return calibration_inputs(model, images(), _early_handler(model, decided, checkpoint, work))

    return replace(decided, calibration=inputs)


def golden_references(
    loaded: LoadedModel, model: VisionModel | PolicyModel, handler: ModelHandler, work: Path
) -> list[Reference]:
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
    model = settings.served_model
    if not isinstance(model, PolicyModel):
        return None
    handler.model = load_runtime(work, handler.card)
    logger.info("%s: computing Stable-Baselines3's own answers", model.model_name)
    return check_library(model, loaded, checkpoint, handler, work, settings.parity)


def export(
    model: VisionModel | PolicyModel, loaded: LoadedModel, checkpoint: Path | None, work: Path
) -> tuple[Path, dict[str, Any]]:
    """Write the artifact into `work`; return its path and the model card."""
    form = FORMATS[model.artifact]
    artifact = work / form.file
    details = form.export(loaded, artifact)
    return artifact, model_card(model, loaded, form, details, checkpoint)


def read_back(card: dict[str, Any], work: Path) -> cards.Card:
    """Return the card as the worker will read it, which also checks it."""
    path = work / "model.json"
    path.write_bytes(json_bytes(card))
    return cards.load(path)


def _early_handler(model: VisionModel, loaded: LoadedModel, checkpoint: Path | None, work: Path) -> ModelHandler:
    """Return the handler for a card without artifact details, which is enough to read images."""
    card = model_card(model, loaded, FORMATS[model.artifact], {}, checkpoint)
    return reading_handler(ROOT / model.handler, read_back(card, work))
