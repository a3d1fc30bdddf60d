"""Builds one archive, step by step.

    checkpoint ──▶ LoadedModel ──export──▶ artifact ──library, golden, parity──▶ staged folder ──pack──▶ NAME.mar

Everything unfinished lies in a private folder beside the archive, which is gone when the build ends.
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
from serialize import calibration, decode_level
from serialize.checkpoints import ROOT, locate
from serialize.formats import FORMATS
from serialize.golden import golden_answers, golden_requests, tolerance
from serialize.inputs import comparable
from serialize.library_parity import Agreement, check_library
from serialize.loaded_model import CalibrationInputs, LoadedModel
from serialize.model_json import model_card, reference_card
from serialize.offline_handler import has_own_processing, reading, runtime
from serialize.pack import ArchiveContents, json_bytes, pack, stage
from serialize.parity import Parity, check_parity, kept
from serialize.policy_loader import read_policy
from serialize.reference import Reference
from serialize.vision_loader import read_vision
from settings import Settings
from settings.schema import PolicyModel, VisionModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """A finished archive and how close its answers are to the framework's.

    `library` is what Stable-Baselines3 itself answered, or why it was not asked; None for what is no policy.
    """

    archive: Archive
    parity: Parity
    library: Agreement | str | None


def build(settings: Settings) -> Built:
    """Builds {paths.archives}/{model_name}.mar for the configured model.

    An archive of that name stays as it is until the new one is whole. Raises WeightsMissing, BuildError, ParityError.
    """
    model = settings.served_model
    # One thread: in what order a machine's cores add up must not decide a byte.
    torch.set_num_threads(1)
    checkpoint = None if model.weights == "random" else locate(model, settings.paths)
    logger.info("%s: reading %s", model.model_name, checkpoint or "random weights")
    source = read_source(model, checkpoint)
    archives = ROOT / settings.paths.archives
    with staging_folder(archives, model.model_name) as work:
        source = measured(model, source, checkpoint, work)
        logger.info("%s: exporting as %s", model.model_name, model.artifact)
        artifact, card = export(model, source, checkpoint, work)
        logger.info("%s: asking the framework for the golden answers", model.model_name)
        checked = read_back(card, work)
        handler = reading(ROOT / model.handler, checked)
        references = compared(source, model, handler, work)
        library = independent(settings, source, checkpoint, handler, work)
        card["parity"] = reference_card(library, len(references), tolerance(checked))
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
        staged = stage(contents, work / "staged")
        logger.info("%s: comparing the artifact with the framework", model.model_name)
        parity = check_parity(staged, contents.handler.name, references)
        logger.info("%s: packing", model.model_name)
        return Built(pack(contents, staged, work, archives / f"{model.model_name}.mar"), parity, library)


def read_source(model: VisionModel | PolicyModel, checkpoint: Path | None) -> LoadedModel:
    """The network of `model`, with the weights of `checkpoint` or random ones."""
    return read_vision(model, checkpoint) if isinstance(model, VisionModel) else read_policy(model, checkpoint)


def measured(model: VisionModel | PolicyModel, source: LoadedModel, checkpoint: Path | None, work: Path) -> LoadedModel:
    """The source of a picture model with what is decided by its answers to pictures: how JPEGs are decoded."""
    if not isinstance(model, VisionModel):
        return source
    pictures = functools.cache(lambda: calibration.load(model))
    own = has_own_processing(reading(ROOT / model.handler, read_back(_early_card(model, source, checkpoint), work)))
    source = replace(source, card=source.card | decode_level.choose(model, source, pictures, own))

    def inputs() -> CalibrationInputs:
        handler = reading(ROOT / model.handler, read_back(_early_card(model, source, checkpoint), work))
        return calibration.inputs(model, pictures(), handler)

    return replace(source, calibration=inputs)


def compared(
    source: LoadedModel, model: VisionModel | PolicyModel, handler: ModelHandler, work: Path
) -> list[Reference]:
    """The framework's answers to the golden requests; of `onnx-int8` those that it was measured to give."""
    if "quantisation" not in handler.card.document["artifact"]:
        return comparable(source, model, golden_requests(source, model), handler)
    assert isinstance(model, VisionModel)
    found = comparable(source, model, list(calibration.load(model).requests[1::2]), handler, rounded=True)
    return kept(found, handler, work)


def independent(
    settings: Settings, source: LoadedModel, checkpoint: Path | None, handler: ModelHandler, work: Path
) -> Agreement | str | None:
    """Hold a policy's answers, as the artifact in `work` gives them, against the library that wrote its checkpoint."""
    model = settings.served_model
    if not isinstance(model, PolicyModel):
        return None
    handler.model = runtime(work, handler.card)
    logger.info("%s: asking Stable-Baselines3 for its own answers", model.model_name)
    return check_library(model, source, checkpoint, handler, work, settings.parity)


def _early_card(model: VisionModel, source: LoadedModel, checkpoint: Path | None) -> dict[str, Any]:
    """The card before there is an artifact: enough to read pictures."""
    return model_card(model, source, FORMATS[model.artifact], {}, checkpoint)


def export(
    model: VisionModel | PolicyModel, source: LoadedModel, checkpoint: Path | None, work: Path
) -> tuple[Path, dict[str, Any]]:
    """Writes the artifact into `work` and returns its path and the model card."""
    form = FORMATS[model.artifact]
    artifact = work / form.file
    details = form.export(source, artifact)
    return artifact, model_card(model, source, form, details, checkpoint)


def read_back(card: dict[str, Any], work: Path) -> cards.Card:
    """The card as the worker will read it, which also proves that it can."""
    path = work / "model.json"
    path.write_bytes(json_bytes(card))
    return cards.load(path)
