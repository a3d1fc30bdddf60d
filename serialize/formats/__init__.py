"""Artifact formats: one module each, one registry.

    Source ──Format.export──▶ file, and what the model card's `artifact` says of it

What runs a format in the worker is the module of the same name in handlers.runtimes.
"""

from serialize.formats.base import Format
from serialize.formats.eager import Eager
from serialize.formats.onnx import Onnx
from serialize.formats.torchscript import TorchScript

FORMATS: dict[str, Format] = {each.name: each for each in (Eager(), TorchScript(), Onnx())}

__all__ = ["FORMATS", "Format"]
