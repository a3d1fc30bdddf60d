"""`onnx-int8`: the `onnx` graph with 8-bit weights and activations, calibrated on pictures.

What works for MobileNetV3 and ResNet, tried on an x86 CPU with VNNI:
- weights signed, one scale for each output channel: with one scale a layer, MobileNetV3's depthwise filters drown;
- activations unsigned (U8S8): that is what VNNI multiplies; with signed activations ONNX Runtime is six times slower.
  Full range: `reduce_range` helps only CPUs without VNNI, whose 16-bit sums may overflow;
- calibration by the least and greatest value seen, else by the 99.99th percentile where that misses the limit: the
  first keeps hardswish's small negative part better, the second survives outliers;
- every operator quantised that can be: each one left in float costs two conversions;
- hardswish and the normalisation of the pixels rewritten, see _hard_swish and _pixels: without these two, an int8
  MobileNetV3-Small is slower than the float one.
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
from serialize.formats import _onnx
from serialize.formats._hard_swish import quantise_hard_sigmoids
from serialize.formats._pixels import PIXELS, join_pixels, take_pixels
from serialize.source import Calibration, Source

logger = logging.getLogger(__name__)

METHODS = ("minmax", "percentile")
BATCH = 8
PERCENTILE = 99.99
MANTISSA = 8  # bits kept of a range: machines differ in the last bits of a float, archives must not


@dataclass(frozen=True)
class OnnxInt8:
    """Static quantisation by onnxruntime.quantization, packed only when it keeps the first labels."""

    name: str = "onnx-int8"
    file: str = "model.onnx"
    runtime: str = "onnx"

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the quantised graph; half of the pictures calibrate it, the other half measure it.

        Raises ParityError when too few of the measured pictures keep their first label.
        """
        if source.calibration is None:
            raise BuildError("onnx-int8 is calibrated on pictures: it is for picture models")
        wide = target.with_suffix(".float")
        try:
            with _onnx.refusals():
                _onnx.export(source, wide)
                figures = _best(source, source.calibration(), wide, target)
        finally:
            wide.unlink(missing_ok=True)
        return {"opset": _onnx.OPSET, "quantisation": figures}


def _best(source: Source, calibration: Calibration, wide: Path, target: Path) -> dict[str, Any]:
    seen, unseen = calibration.inputs[::2], calibration.inputs[1::2]
    expected = answers(wide, unseen)
    tried: list[dict[str, Any]] = []
    for method in METHODS:
        quantise(wide, target, source, seen, method)
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
        f"{calibration.top1:.1%} are asked for, nothing is packed"
    )


def _change(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest difference of an output, as a share of the largest output."""
    return round(float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max())), 4)


def answers(path: Path, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Outputs [N, classes] of a graph."""
    asked = _onnx.session(path)
    name = asked.get_inputs()[0].name
    return np.concatenate([asked.run(None, {name: batch})[0] for batch in _batches(inputs)])


def quantise(wide: Path, target: Path, source: Source, inputs: NDArray[np.uint8], method: str) -> None:
    """Writes `wide` with 8-bit weights and activations, the ranges of these taken from `inputs`."""
    # Needed for this format alone, and it announces itself when it is imported.
    from onnxruntime.quantization import QuantType, qdq_quantizer
    from onnxruntime.quantization.quant_utils import load_model_with_shape_infer
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    prepared = target.with_suffix(".prepared")
    try:
        model = onnx.load(wide)
        zero = take_pixels(model.graph)
        onnx.save(model, prepared)
        kinds = sorted({*QDQRegistry, *QLinearOpsRegistry} - {"Softmax"})
        ranges = _ranges(prepared, source.input_name, inputs, method, kinds)
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
        calibrator.collect_data(_Reader(name, inputs))
        found = calibrator.compute_data()
        return {tensor: (_coarse(data.range_value[0]), _coarse(data.range_value[1])) for tensor, data in found.items()}
    finally:
        augmented.unlink(missing_ok=True)


def _tensors_data(ranges: dict[str, tuple[np.float32, np.float32]]) -> Any:
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    return TensorsData(CalibrationMethod.MinMax, dict(ranges))


def _coarse(value: Any) -> np.float32:
    """The number, away from zero to the next with few bits."""
    mantissa, exponent = np.frexp(np.float64(np.asarray(value).reshape(-1)[0]))
    step = 2.0**MANTISSA
    return np.float32(np.ldexp(np.sign(mantissa) * np.ceil(np.abs(mantissa) * step) / step, exponent))


def _batches(inputs: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]


class _Reader:
    """What onnxruntime.quantization takes its pictures from."""

    def __init__(self, name: str, inputs: NDArray[np.uint8]) -> None:
        self._name = name
        # Ranges come from whole batches only: it stacks the outputs.
        self._batches: Iterator[NDArray[np.uint8]] = iter(_batches(inputs[: len(inputs) // BATCH * BATCH or None]))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch, None after the last."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch}


FORMAT = OnnxInt8()
