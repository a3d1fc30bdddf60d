"""Snapshot folders of Hugging Face: served as transformers' own pipeline answers, and nothing in them runs."""

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

import settings
from archive import open_archive
from errors import BuildError
from serialize.build import build, load_model
from serialize.checkpoints import locate
from serialize.sample_requests import image
from settings import Settings
from settings.load import ROOT
from tests.serialize.conftest import answered, worker_of

NEEDED = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: requirements-transformers.txt",
)
LABELS = {0: "no", 1: "yes", 2: "1.1"}
Configured = Callable[..., Settings]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """The settings of a model whose YAML names a folder, and nothing else about the network."""

    def made(folder: Path, *overrides: str, **given: Any) -> Settings:
        values = {
            "model_name": "snapshot",
            "kind": "vision",
            "handler": "handlers/vision_handler.py",
            "checkpoint": str(folder),
            "output": {"activation": "softmax"},
            "request_params": {"batch_size": 4, "max_batch_delay": 5, "initial_workers": 1},
            **given,
        }
        config = tmp_path / "config"
        if not config.exists():
            config.mkdir()
            for each in (ROOT / "config").iterdir():
                if each.name not in ("served_model", "local"):
                    (config / each.name).symlink_to(each)
            (config / "served_model").mkdir()
        (config / "served_model" / "snapshot.yaml").write_text(yaml.safe_dump(values))
        words = ("served_model=snapshot", f"paths.archives={tmp_path / 'archives'}", *overrides)
        return settings.load(words, config=config)

    return made


def written(folder: Path, kind: str) -> Any:
    """Save a small model with random weights as transformers does, and return it."""
    import transformers

    torch.manual_seed(0)
    names: dict[str, Any] = {"id2label": LABELS, "label2id": {name: number for number, name in LABELS.items()}}
    if kind == "vit":
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, **names)
        model = transformers.ViTForImageClassification(config)
        processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    else:
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], **names)
        model = transformers.ResNetForImageClassification(config)
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875)
    with torch.no_grad():  # so that the answers differ
        for name, parameter in model.named_parameters():
            if name.startswith("classifier"):
                parameter.copy_(torch.randn(parameter.shape))
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model


@NEEDED
@pytest.mark.parametrize("artifact", ["onnx", "eager"])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_answer_is_that_of_the_librarys_own_pipeline(
    configured: Configured, tmp_path: Path, kind: str, artifact: str
) -> None:
    import transformers

    folder = tmp_path / "model"
    written(folder, kind)
    archive = open_archive(build(configured(folder, f"served_model.artifact={artifact}")).archive.path)
    assert archive.card["labels"] == list(LABELS.values())
    handler = worker_of(archive, tmp_path / "unpacked")
    pipeline: Any = transformers.pipeline("image-classification", str(folder), top_k=None)
    spread = []
    for seed in range(3):
        body = io.BytesIO()
        Image.fromarray(image(60, 80, seed)).save(body, "PNG")
        expected = {each["label"]: each["score"] for each in pipeline(Image.open(io.BytesIO(body.getvalue())))}
        prediction = answered(handler, "image/png", body.getvalue())
        # The pipeline may resize with torch, whose values lie one of 255 beside Pillow's.
        assert prediction["probabilities"] == pytest.approx(expected, abs=0.01)
        spread.append(max(expected.values()))
    assert max(spread) > 0.45


@NEEDED
def test_snapshot_of_a_newer_or_own_architecture_is_refused(configured: Configured, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    written(folder, "vit")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    (folder / "own.py").write_text("raise SystemExit('run')")
    own = {"architectures": ["OwnForImageClassification"], "model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    path.write_text(json.dumps(config | own))
    with pytest.raises(BuildError, match="has no OwnForImageClassification; code of the folder never runs"):
        load(configured(folder))
    path.write_text(json.dumps(config | {"architectures": ["ViTModel"]}))
    with pytest.raises(BuildError, match=r"architecture ViTModel is none of \.\.\.ForImageClassification"):
        load(configured(folder))


@NEEDED
def test_snapshot_with_weights_of_another_model_is_refused(configured: Configured, tmp_path: Path) -> None:
    folder, other = tmp_path / "model", tmp_path / "other"
    written(folder, "vit")
    written(other, "resnet")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(BuildError, match=r"model\.safetensors: missing: .*download the whole snapshot again"):
        load(configured(folder))


def test_pickled_weights_are_refused_with_the_command_that_converts_them(
    configured: Configured, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")
    match = r"python -m serialize convert .*/model/pytorch_model\.bin trust=yes"
    composed = configured(folder, **stated())
    with pytest.raises(BuildError, match=match) as refused:
        locate(composed.built_model, composed.paths)
    assert "weights_only" not in str(refused.value)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(BuildError, match=r"without model\.safetensors"):
        locate(composed.built_model, composed.paths)


def test_labels_and_pre_processing_are_read_from_the_folder_or_found_missing(
    configured: Configured, tmp_path: Path
) -> None:
    from serialize.labels import resolve_labels
    from serialize.preprocessing_preset import resolve

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"id2label": {"1": "b", "0": "a"}}))
    processor: dict[str, Any] = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}}
    processor |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    model: Any = resolve(configured(folder).built_model)
    assert model.preprocessing.resize == (32, 32)
    assert resolve_labels(model.labels) == ["a", "b"]
    with pytest.raises(BuildError, match=r"served_model\.preprocessing is missing, and the checkpoint is no snapshot"):
        resolve(configured(tmp_path / "graph.onnx").built_model)
    with pytest.raises(BuildError, match=r"served_model\.labels is missing"):
        resolve(configured(tmp_path / "graph.onnx", **stated()).built_model)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_snapshot_without_the_library_is_refused_with_the_command(configured: Configured, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"architectures": ["ViTForImageClassification"], "model_type": "vit", "id2label": {"0": "a"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
    with pytest.raises(BuildError, match=r"needs transformers: pip install -r requirements-transformers\.txt"):
        load(configured(folder, **stated()))


def stated() -> dict[str, Any]:
    """Return a pre-processing for folders without one."""
    return {"preprocessing": {"resize": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}}


def load(composed: Settings) -> Any:
    return load_model(composed.built_model, locate(composed.built_model, composed.paths))
