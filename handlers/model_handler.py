"""The handler of any model: three stages with a separate outcome for each request, and a checked start.

    rows ── preprocess ──▶ Batch ── inference ──▶ Forwarded ── postprocess ──▶ one JSON response a row
                 │                      │                            │
                 └── RequestError ──────┴────────────────────────────┴──▶ that row's own 4xx or 5xx

TorchServe fails a whole batch when a handler raises, so an error that one request causes must never leave its row.
"""

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from handlers import card, explain, golden, json_log, request_body, runtimes, telemetry
from handlers.batch import (
    NEVER,
    Batch,
    Deadline,
    ExplainRequest,
    Explanations,
    Forwarded,
    Instances,
    Outputs,
    PredictRequest,
    apart,
    deadline_of,
)
from handlers.errors import DeadlinePassed, Internal, NotSupported, RequestError
from handlers.outputs import NetworkOutput, encode_document, encode_error

logger = logging.getLogger(__name__)

T = TypeVar("T")

FORWARD_BYTES = 8 * 2**20
"""Inputs of one run of the network: some 50 images of 224 x 224, whose activations stay below half a gigabyte."""


class ModelHandler(ABC):
    """Serves the model of the archive; a subclass reads the requests.

    TorchServe takes any class with `initialize` and `handle`. This one does not derive from its `BaseHandler`, which
    imports torch, and OpenVINO where that is installed, although a worker may need neither.
    """

    card: card.Card
    context: Any
    model: runtimes.Runtime
    tracer: telemetry.BatchTracer | None = None
    initialized = False

    def initialize(self, context: Any) -> None:
        """Load card and network, check the golden answers, warm up.

        Raises ValueError, which TorchServe logs and reports as a worker that did not start.
        """
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        self.context = context
        self.manifest = context.manifest
        self.version = str(context.manifest["model"]["modelVersion"])
        json_log.configure_worker(context.manifest["model"].get("modelName", ""), self.version)
        self.card = card.load(folder / "model.json").stamped(context.manifest["model"])
        self.batch_size = int(properties.get("batch_size") or self.card.request_params.batch_size)
        self.configure()
        self.model = runtimes.load(folder, self.card, properties.get("gpu_id"))
        inputs = self._check_golden(golden.load(folder / "golden.json"))
        warm_up(inputs, 1 if self.card.output.alone else self.batch_size, self.forward)
        json_log.log_warnings_only()
        self.tracer = telemetry.open_tracer(self.card.model_name, self.version)
        self.initialized = True

    @abstractmethod
    def configure(self) -> None:
        """Store the parts of the card that `read` needs; raises ValueError for a model of another kind."""

    @abstractmethod
    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> Instances:
        """Convert the body of one request to its instances; raises RequestError, also after the deadline."""

    def explanations(self, inputs: NDArray[Any], outputs: NDArray[Any], target: Any) -> list[dict[str, Any]]:
        """Explain `outputs`, or the class `target`, for each of k instances; raises RequestError."""
        raise NotSupported("this model gives no explanations")

    def handle(self, data: list[Mapping[str, Any]], context: Any) -> list[Any]:
        """Answer one batch, a body for each row; TorchServe requests the model's description as a separate row."""
        started = time.perf_counter()
        self.context = context
        if context.get_request_header(0, "describe") == "True":
            # As bytes, because for any other type TorchServe loads torch to check whether it is a tensor.
            return [encode_document(self.describe_handle())]
        forwarded = self.inference(self.preprocess(data))
        bodies = self.postprocess(forwarded)
        whole_s = time.perf_counter() - started
        context.metrics.add_time("HandlerTime", round(whole_s * 1000, 2), None, "ms")
        if self.tracer is not None:
            self.tracer.batch(context, forwarded, whole_s)
        return bodies

    def preprocess(self, data: list[Mapping[str, Any]]) -> Batch:
        """Read every row by itself."""
        started = time.perf_counter()
        requests = tuple(self._guarded(index, self._read_row, row, index) for index, row in enumerate(data))
        return Batch(requests, time.perf_counter() - started)

    def inference(self, batch: Batch) -> Forwarded:
        """Run the network once over the instances of all requests that were read and are not too late."""
        started = time.perf_counter()
        batch = replace(batch, requests=tuple(map(_in_time, batch.requests)))
        try:
            outputs = self._forward_together(batch)
        except DeadlinePassed as error:
            outputs = tuple(
                error if isinstance(request, PredictRequest) else self._apart(index, request)
                for index, request in enumerate(batch.requests)
            )
        except Exception:
            # Running each request alone finds the faulty one, or shows that only their number was too large.
            logger.exception("forward_failed", extra={"fields": {"requests": len(batch.inputs)}})
            outputs = tuple(self._apart(index, request) for index, request in enumerate(batch.requests))
        return Forwarded(outputs, batch.decode_s, time.perf_counter() - started)

    def postprocess(self, forwarded: Forwarded) -> list[bytes]:
        """Encode the response to every request and set its status and headers."""
        started = time.perf_counter()
        bodies = [self._respond(index, outcome) for index, outcome in enumerate(forwarded.requests)]
        post_s = time.perf_counter() - started
        fill = len(bodies) / self.batch_size
        times = telemetry.StageTimes(forwarded.decode_s, forwarded.forward_s, post_s, fill)
        telemetry.emit(self.context.metrics, times, self.context.model_name, self.version)
        return bodies

    def describe_handle(self) -> dict[str, Any]:
        """Return the model card; TorchServe shows it as `customizedMetadata`."""
        return dict(self.card.document)

    def forward(self, inputs: NDArray[Any], until: Deadline = NEVER) -> Outputs:
        """Run the network on [N, ...], in parts where N is very large; raises whatever the network raises.

        Raises DeadlinePassed when the deadline passes between parts.
        """
        alone = self.card.output.alone
        size = 1 if alone else max(self.batch_size, FORWARD_BYTES // _largest(inputs))
        parts: list[Outputs] = []
        for start in range(0, len(inputs), size):
            until.check()
            parts.append(self.model(inputs[start : start + size]))
            self._check_outputs(parts[-1], () if alone else (len(inputs[start : start + size]),))
        if alone:
            return {name: apart([part[name] for part in parts]) for name in parts[0]}
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _check_outputs(self, outputs: Outputs, count: tuple[int, ...]) -> None:
        """Raise ValueError unless the outputs have the shapes of the output kind, after the `count` of instances."""
        for wanted in self.card.network_outputs:
            values = outputs.get(wanted.name)
            if values is None or not _fits(values, wanted, count):
                found = {name: list(each.shape) for name, each in outputs.items()}
                shape = [*count, *wanted.shape]
                raise ValueError(f"the network must return {wanted.name} of shape {shape}, it returned {found}")

    def _check_golden(self, answers: golden.GoldenAnswers) -> NDArray[np.generic]:
        """Answer every golden request and return their inputs [k, ...].

        Raises ValueError when a request is refused or an answer leaves the tolerance: such a worker must not serve.
        """
        inputs = []
        for number, sample in enumerate(answers.samples):
            try:
                given = self.read(request_body.body_of(sample.row)[1], sample.content_type)
                inputs.append(given.inputs)
                found = self.card.predictions({**self.forward(given.inputs), **given.options})
            except RequestError as error:
                raise ValueError(f"golden request {number} is refused: {error.detail}") from error
            if difference := golden.exceeds_tolerance(sample.predictions, found, answers.tolerance):
                raise ValueError(f"golden answer {number} differs: {difference}; the tolerance is {answers.tolerance}")
        return np.concatenate(inputs)

    def _read_row(self, row: Mapping[str, Any], index: int) -> PredictRequest | ExplainRequest:
        headers = self.context.get_all_request_header(index)
        until = deadline_of(headers)
        until.check()
        name, body = request_body.body_of(row)
        media_type = request_body.media_type(headers, name)
        if headers.get("explain") == "True":
            target, body = explain.split(row, body)
            return ExplainRequest(self.read(body, media_type, until).inputs, target, until)
        instances = self.read(body, media_type, until)
        return PredictRequest(instances.inputs, instances.options, until)

    def _forward_together(self, batch: Batch) -> tuple[Outputs | Explanations | RequestError, ...]:
        latest = max((each.until.at_ms for each in batch.requests if isinstance(each, PredictRequest)), default=0)
        outputs = self.forward(np.concatenate(batch.inputs), Deadline(latest)) if batch.inputs else {}
        shares: list[Outputs | Explanations | RequestError] = []
        start = 0
        for index, request in enumerate(batch.requests):
            if not isinstance(request, PredictRequest):
                shares.append(self._apart(index, request))
                continue
            share = slice(start, start + len(request.inputs))
            shares.append({name: values[share] for name, values in outputs.items()} | dict(request.options))
            start = share.stop
        return tuple(shares)

    def _apart(
        self, index: int, request: PredictRequest | ExplainRequest | RequestError
    ) -> Outputs | Explanations | RequestError:
        """Run the network for one request alone."""
        if isinstance(request, RequestError):
            return request
        return self._guarded(index, self._explain if isinstance(request, ExplainRequest) else self._predict, request)

    def _predict(self, request: PredictRequest) -> Outputs:
        return {**self.forward(request.inputs, request.until), **request.options}

    def _explain(self, request: ExplainRequest) -> Explanations:
        logits = self.forward(request.inputs, request.until)[self.card.network_outputs[0].name]
        items = []
        for index in range(len(logits)):
            request.until.check()
            one = slice(index, index + 1)
            items += self.explanations(request.inputs[one], logits[one], request.target)
        return Explanations(items)

    def _respond(self, index: int, outcome: Outputs | Explanations | RequestError) -> bytes:
        self.context.set_response_content_type(index, "application/json")
        self.context.set_response_header(index, "x-model-version", self.version)
        # The drain of this version must see that each of its workers has finished its last batch.
        self.context.set_response_header(index, "x-worker-pid", str(os.getpid()))
        if not isinstance(outcome, RequestError):
            encoded = self._guarded(index, self._encode, outcome)
            if isinstance(encoded, bytes):
                return encoded
            outcome = encoded
        self.context.set_response_status(code=outcome.status, phrase=outcome.phrase, idx=index)
        # The log has no detail: it may repeat parts of the request's body.
        logger.warning("request_failed", extra=self._log_extra(index, code=outcome.code, status=outcome.status))
        return encode_error(outcome)

    def _encode(self, outcome: Outputs | Explanations) -> bytes:
        if isinstance(outcome, Explanations):
            return self.card.response(self.version, "explanations", outcome.items)
        return self.card.response(self.version, "predictions", self.card.predictions(outcome))

    def _guarded(self, index: int, step: Callable[..., T], *arguments: Any) -> T | RequestError:
        """Run a step of one request and return its error instead of raising it."""
        try:
            return step(*arguments)
        except RequestError as error:
            return error
        except Exception:
            # An unexpected error fails only this request of the batch.
            logger.exception("request_broke", extra=self._log_extra(index))
            return Internal("the model failed on this request")

    def _log_extra(self, index: int, **fields: Any) -> dict[str, Any]:
        return json_log.request_extra(self.context.get_all_request_header(index), **fields)


def _largest(inputs: NDArray[Any]) -> int:
    """Return the bytes of the largest instance; records and arrays that differ in shape hold objects."""
    return max(1, max(map(_bytes, inputs)) if inputs.dtype.hasobject else inputs[0].nbytes)


def _bytes(value: Any) -> int:
    if isinstance(value, np.void):
        return sum(_bytes(value[name]) for name in value.dtype.names or ())
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return sum(map(_bytes, value.ravel()))
    return len(value) if isinstance(value, bytes) else int(value.nbytes)


def _fits(values: NDArray[Any], wanted: NetworkOutput, count: tuple[int, ...]) -> bool:
    """Return true for an array of the output's shape for each of `count` instances, or for an array of such arrays."""
    if NetworkOutput(wanted.name, (*count, *wanted.shape)).fits(values.shape):
        return True
    return values.shape == count and all(isinstance(each, np.ndarray) and wanted.fits(each.shape) for each in values)


def warm_up(inputs: NDArray[np.generic], batch_size: int, forward: Callable[[NDArray[np.generic]], Outputs]) -> None:
    """Run batches of 1, 2, 4, ... and `batch_size` instances, so that no request pays for a first run."""
    powers = [2**power for power in range(batch_size.bit_length()) if 2**power < batch_size]
    for size in (*powers, batch_size):
        forward(np.resize(inputs, (size, *inputs.shape[1:])))


def _in_time(request: PredictRequest | ExplainRequest | RequestError) -> PredictRequest | ExplainRequest | RequestError:
    """Replace a request by its error if its deadline passed while others were read."""
    try:
        if not isinstance(request, RequestError):
            request.until.check()
    except DeadlinePassed as error:
        return error
    return request
