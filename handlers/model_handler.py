"""What the handlers of pictures and of policies have in common: the three stages, with an outcome for each request.

    rows ── preprocess ──▶ Batch ── inference ──▶ Forwarded ── postprocess ──▶ one JSON answer a row
                 │                      │                            │
                 └── RequestError ──────┴────────────────────────────┴──▶ that row's own 4xx or 5xx

TorchServe fails a whole batch when a handler raises, so nothing that one request causes may be raised past its row.
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

from handlers import card, deadline, explain, golden, json_log, metrics, rows, runtimes, startup, tracing
from handlers.batch import Batch, Explained, Forwarded, Outputs, Question, Reading
from handlers.deadline import NEVER, Deadline
from handlers.errors import DeadlinePassed, Internal, NotSupported, RequestError
from handlers.outputs import encode_document, encode_error

logger = logging.getLogger(__name__)

T = TypeVar("T")

FORWARD_BYTES = 8 * 2**20
"""Inputs for one run of the network: some 50 pictures of 224 x 224, whose activations stay below half a gigabyte."""


class ModelHandler(ABC):
    """Serves the model of the archive; a subclass says how a request is read.

    TorchServe takes any class with `initialize` and `handle`. This one does not derive from its `BaseHandler`, which
    imports torch, and OpenVINO where that is installed, for a worker that may need neither.
    """

    card: card.Card
    context: Any
    model: runtimes.Runtime
    spans: tracing.Spans | None = None
    initialized = False

    def initialize(self, context: Any) -> None:
        """Load card and network, meet the golden answers, warm up.

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
        inputs = startup.verify(golden.load(folder / "golden.json"), self.card, self._read_sample, self.forward)
        startup.warm_up(inputs, self.batch_size, self.forward)
        json_log.log_warnings_only()
        self.spans = tracing.spans_for(self.card.model_name, self.version)
        self.initialized = True

    @abstractmethod
    def configure(self) -> None:
        """Take from the card what reading needs; raises ValueError when the model is of another kind."""

    @abstractmethod
    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> NDArray[Any]:
        """Turn the body of one request into its instances [k, ...]; raises RequestError, also when it gets too late."""

    def asked(self, body: Any, media_type: str, count: int) -> Outputs:
        """What a request of `count` instances asks for beside them, one row an instance; raises RequestError."""
        return {}

    def explanations(self, inputs: NDArray[Any], outputs: NDArray[Any], target: Any) -> list[dict[str, Any]]:
        """Word why each of k instances is answered with `outputs`, or would be with `target`; raises RequestError."""
        raise NotSupported("this model gives no explanations")

    def handle(self, data: list[Mapping[str, Any]], context: Any) -> list[Any]:
        """Answer one batch, a body for each row; TorchServe asks for the model's description with a row of its own."""
        started = time.perf_counter()
        self.context = context
        if context.get_request_header(0, "describe") == "True":
            # As bytes: TorchServe asks of anything else first whether it is a tensor, and loads torch for the question.
            return [encode_document(self.describe_handle())]
        forwarded = self.inference(self.preprocess(data))
        bodies = self.postprocess(forwarded)
        whole_s = time.perf_counter() - started
        context.metrics.add_time("HandlerTime", round(whole_s * 1000, 2), None, "ms")
        if self.spans is not None:
            self.spans.batch(context, forwarded, whole_s)
        return bodies

    def preprocess(self, data: list[Mapping[str, Any]]) -> Batch:
        """Read every row by itself."""
        started = time.perf_counter()
        requests = tuple(self._guarded(index, self._read_row, row, index) for index, row in enumerate(data))
        return Batch(requests, time.perf_counter() - started)

    def inference(self, batch: Batch) -> Forwarded:
        """Run the network once over the instances of all requests that could be read and are still waited for."""
        started = time.perf_counter()
        batch = replace(batch, requests=tuple(map(_in_time, batch.requests)))
        try:
            outputs = self._forward_together(batch)
        except DeadlinePassed as error:
            outputs = tuple(
                error if isinstance(request, Reading) else self._apart(index, request)
                for index, request in enumerate(batch.requests)
            )
        except Exception:
            # An edge: which request is to blame, or whether only their number was, shows when each runs alone.
            logger.exception("forward_failed", extra={"fields": {"requests": len(batch.readable)}})
            outputs = tuple(self._apart(index, request) for index, request in enumerate(batch.requests))
        return Forwarded(outputs, batch.decode_s, time.perf_counter() - started)

    def postprocess(self, forwarded: Forwarded) -> list[bytes]:
        """Word every request's answer and set its own status and headers."""
        started = time.perf_counter()
        bodies = [self._answer(index, outcome) for index, outcome in enumerate(forwarded.requests)]
        post_s = time.perf_counter() - started
        fill = len(bodies) / self.batch_size
        stages = metrics.Stages(forwarded.decode_s, forwarded.forward_s, post_s, fill)
        metrics.emit(self.context.metrics, stages, self.context.model_name, self.version)
        return bodies

    def describe_handle(self) -> dict[str, Any]:
        """Return the model card; TorchServe shows it as `customizedMetadata`."""
        return dict(self.card.document)

    def forward(self, inputs: NDArray[Any], until: Deadline = NEVER) -> Outputs:
        """Run the network on [N, ...], in parts where N is very large; raises whatever the network does.

        Raises DeadlinePassed when it gets too late between parts.
        """
        size = max(self.batch_size, FORWARD_BYTES // inputs[0].nbytes)
        parts = []
        for start in range(0, len(inputs), size):
            until.check()
            parts.append(self.model(inputs[start : start + size]))
        outputs = parts[0]
        if len(parts) > 1:
            outputs = {name: np.concatenate([part[name] for part in parts]) for name in outputs}
        self._check_output(outputs, len(inputs))
        return outputs

    def _check_output(self, outputs: Outputs, count: int) -> None:
        name, shape = self.card.network_output
        if name not in outputs or outputs[name].shape != (count, *shape):
            found = {name: list(values.shape) for name, values in outputs.items()}
            raise ValueError(f"the network must return {name} of shape {[count, *shape]}, it returned {found}")

    def _read_row(self, row: Mapping[str, Any], index: int) -> Reading | Question:
        headers = self.context.get_all_request_header(index)
        until = deadline.of(headers)
        until.check()
        name, body = rows.content(row)
        media_type = rows.media_type(headers, name)
        if headers.get("explain") == "True":
            target, body = explain.split(row, body)
            return Question(self.read(body, media_type, until), target, until)
        inputs = self.read(body, media_type, until)
        return Reading(inputs, self.asked(body, media_type, len(inputs)), until)

    def _read_sample(self, sample: golden.Sample) -> NDArray[Any]:
        return self.read(rows.content(sample.row)[1], sample.content_type)

    def _forward_together(self, batch: Batch) -> tuple[Outputs | Explained | RequestError, ...]:
        latest = max((request.until.at_ms for request in batch.requests if isinstance(request, Reading)), default=0)
        outputs = self.forward(np.concatenate(batch.readable), Deadline(latest)) if batch.readable else {}
        shares: list[Outputs | Explained | RequestError] = []
        start = 0
        for index, request in enumerate(batch.requests):
            if not isinstance(request, Reading):
                shares.append(self._apart(index, request))
                continue
            share = slice(start, start + len(request.inputs))
            shares.append({name: values[share] for name, values in outputs.items()} | dict(request.asked))
            start = share.stop
        return tuple(shares)

    def _apart(self, index: int, request: Reading | Question | RequestError) -> Outputs | Explained | RequestError:
        if isinstance(request, RequestError):
            return request
        return self._guarded(index, self._explained if isinstance(request, Question) else self._forward_one, request)

    def _forward_one(self, request: Reading) -> Outputs:
        return {**self.forward(request.inputs, request.until), **request.asked}

    def _explained(self, request: Question) -> Explained:
        logits = self.forward(request.inputs, request.until)[self.card.network_output[0]]
        explained = []
        for index in range(len(logits)):
            request.until.check()
            one = slice(index, index + 1)
            explained += self.explanations(request.inputs[one], logits[one], request.target)
        return Explained(explained)

    def _answer(self, index: int, outcome: Outputs | Explained | RequestError) -> bytes:
        self.context.set_response_content_type(index, "application/json")
        self.context.set_response_header(index, "x-model-version", self.version)
        # Whoever drains this version must know that each of its workers has finished what it held.
        self.context.set_response_header(index, "x-worker-pid", str(os.getpid()))
        if not isinstance(outcome, RequestError):
            worded = self._guarded(index, self._word, outcome)
            if isinstance(worded, bytes):
                return worded
            outcome = worded
        self.context.set_response_status(code=outcome.status, phrase=outcome.phrase, idx=index)
        # No detail here: it may repeat parts of the request's body.
        logger.warning("request_failed", extra=self._about(index, code=outcome.code, status=outcome.status))
        return encode_error(outcome)

    def _word(self, outcome: Outputs | Explained) -> bytes:
        if isinstance(outcome, Explained):
            return self.card.response(self.version, "explanations", outcome.explanations)
        return self.card.response(self.version, "predictions", self.card.predictions(outcome))

    def _guarded(self, index: int, step: Callable[..., T], *arguments: Any) -> T | RequestError:
        """Run a step of one request and return its error instead of raising it."""
        try:
            return step(*arguments)
        except RequestError as error:
            return error
        except Exception:
            # An edge: an error that nobody foresaw costs this request its answer, and no other request theirs.
            logger.exception("request_broke", extra=self._about(index))
            return Internal("the model failed on this request")

    def _about(self, index: int, **fields: Any) -> dict[str, Any]:
        return json_log.request_extra(self.context.get_all_request_header(index), **fields)


def _in_time(request: Reading | Question | RequestError) -> Reading | Question | RequestError:
    """Drop a request whose deadline passed while those beside it were read."""
    try:
        if not isinstance(request, RequestError):
            request.until.check()
    except DeadlinePassed as error:
        return error
    return request
