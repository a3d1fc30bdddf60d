"""`onnx-int8`: the `onnx` graph with 8-bit weights and activations, calibrated on images.

    float graph ──rewrite the pixels──▶ calibrate ──▶ quantise ──rewrite hard sigmoids──▶ measure ──▶ model.onnx

These choices work for MobileNetV3 and ResNet, tried on an x86 CPU with VNNI:
- weights signed, one scale per output channel: with one scale per layer, MobileNetV3's depthwise filters lose all
  precision;
- activations unsigned (U8S8), which VNNI multiplies; with signed activations ONNX Runtime is six times slower. The full
  range: `reduce_range` helps only CPUs without VNNI, whose 16-bit sums may overflow;
- calibration by the smallest and largest value, or by the 99.99th percentile where the first misses the limit: the
  first keeps hardswish's small negative part better, the second survives outliers;
- every operator quantised that can be, because each float operator between them costs two conversions;
- pixels and hard sigmoids rewritten, as _int8_rewrites explains.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from errors import BuildError, ParityError
from serialize.formats import onnx as float_onnx
from serialize.formats._int8_rewrites import PIXELS, join_pixels, quantise_hard_sigmoids, take_pixels
from serialize.loaded_model import CalibrationInputs, LoadedModel
from serialize.onnx_session import session

logger = logging.getLogger(__name__)

METHODS = ("minmax", "percentile")
BATCH = 8
PERCENTILE = 99.99
MANTISSA = 8  # bits of a range that are kept: machines differ in the last bits of a float, archives must not


@dataclass(frozen=True)
class OnnxInt8:
    """A graph of onnxruntime.quantization, packed only if it keeps the top-1 labels."""

    name: str = "onnx-int8"
    file: str = "model.onnx"
    runtime: str = "onnx"

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the quantised graph; half of the images calibrate it, the other half measure it.

        Raises ParityError if too few of the measured images keep their top-1 label.
        """
        if loaded.calibration is None:
            raise BuildError("onnx-int8 is measured by the first labels of pictures, and this model gives none")
        wide = target.with_suffix(".float")
        try:
            with float_onnx.refusals():
                float_onnx.export(loaded, wide)
                figures = _best(loaded, loaded.calibration(), wide, target)
        finally:
            wide.unlink(missing_ok=True)
        return {"opset": float_onnx.OPSET, "quantisation": figures}


def _best(loaded: LoadedModel, calibration: CalibrationInputs, wide: Path, target: Path) -> dict[str, Any]:
    seen, unseen = calibration.inputs[::2], calibration.inputs[1::2]
    expected = answers(wide, unseen)
    tried: list[dict[str, Any]] = []
    for method in METHODS:
        quantise(wide, target, loaded, seen, method)
        found = answers(target, unseen)
        agreement = float(np.mean(found.argmax(axis=1) == expected.argmax(axis=1)))
        tried.append({"calibration": method, "top1": round(agreement, 4), "change": _change(found, expected)})
        logger.info("onnx-int8 calibrated by %s: %.1f %% of the first labels kept", method, 100 * agreement)
        if agreement >= calibration.top1:
            numbers = {"calibrated_on": len(seen), "measured_on": len(unseen), "pictures": calibration.origin}
            return tried[-1] | numbers | {"limit": calibration.top1, "tolerance": calibration.tolerance}
    words = ", ".join(f"{each['top1']:.1%} calibrated by {each['calibration']}" for each in tried)
    raise ParityError(
        f"onnx-int8 keeps the first label of too few of {len(unseen)} pictures ({calibration.origin}): {words}; "
        f"the limit is {calibration.top1:.1%}, nothing is packed"
    )


def _change(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of an output, as a share of the largest output."""
    return round(float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max())), 4)


def answers(path: Path, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the outputs [N, classes] of a graph."""
    running = session(path)
    name = running.get_inputs()[0].name
    return np.concatenate([running.run(None, {name: batch})[0] for batch in _batches(inputs)])


def quantise(wide: Path, target: Path, loaded: LoadedModel, inputs: NDArray[np.uint8], method: str) -> None:
    """Write the graph `wide` with 8-bit weights and activations, whose ranges come from `inputs`."""
    # Imported here: only this format needs it, and it prints a message at import.
    from onnxruntime.quantization import QuantType, qdq_quantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    prepared = target.with_suffix(".prepared")
    try:
        model = onnx.load(wide)
        zero = take_pixels(model.graph)
        onnx.save(model, prepared)
        kinds = sorted({*QDQRegistry, *QLinearOpsRegistry} - {"Softmax"})
        ranges = _ranges(prepared, loaded.input_name, inputs, method, kinds)
        if zero is not None:
            ranges[PIXELS] = (np.float32(-zero), np.float32(255 - zero))  # so that a step is one level
        quantizer = qdq_quantizer.QDQQuantizer(
            load_model_with_shape_infer(prepared), True, False, QuantType.QInt8, QuantType.QUInt8,
            _tensors_data(ranges), [], [], kinds, {},
        )  # fmt: skip
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        made = quantizer.model.model
    finally:
        prepared.unlink(missing_ok=True)
    join_pixels(made.graph)
    quantise_hard_sigmoids(made.graph)
    del made.metadata_props[:]
    onnx.checker.check_model(made)
    onnx.save(made, target)


def _ranges(
    path: Path, name: str, inputs: NDArray[np.uint8], method: str, kinds: list[str]
) -> dict[str, tuple[np.float32, np.float32]]:
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    chosen = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile}[method]
    options = {"percentile": PERCENTILE} if method == "percentile" else {}
    augmented = path.with_suffix(".augmented")
    try:
        calibrator = create_calibrator(path, kinds, str(augmented), calibrate_method=chosen, extra_options=options)
        calibrator.collect_data(_CalibrationReader(name, inputs))
        found = calibrator.compute_data()
        return {tensor: (_coarse(data.range_value[0]), _coarse(data.range_value[1])) for tensor, data in found.items()}
    finally:
        augmented.unlink(missing_ok=True)


def _tensors_data(ranges: dict[str, tuple[np.float32, np.float32]]) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    return TensorsData(CalibrationMethod.MinMax, dict(ranges))


def _coarse(value: Any) -> np.float32:
    """Round away from zero to the next number with few bits."""
    mantissa, exponent = np.frexp(np.float64(np.asarray(value).reshape(-1)[0]))
    step = 2.0**MANTISSA
    return np.float32(np.ldexp(np.sign(mantissa) * np.ceil(np.abs(mantissa) * step) / step, exponent))


def _batches(inputs: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]


class _CalibrationReader:
    """A source of batches for onnxruntime.quantization."""

    def __init__(self, name: str, inputs: NDArray[np.uint8]) -> None:
        self._name = name
        # The calibrator stacks the outputs, so it needs whole batches.
        self._batches: Iterator[NDArray[np.uint8]] = iter(_batches(inputs[: len(inputs) // BATCH * BATCH or None]))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


FORMAT = OnnxInt8()
