"""One loaded policy in a process of its own: `python -m bench.traced_worker FOLDER`, driven by bench.tracing.

First it writes what loading cost. Then, for each line `FLAG COUNT` on its input, it answers COUNT requests, one a
batch, by TorchServe's own service object, and writes the processor's microseconds a request. FLAG is what their
`traceparent` says: 01 sampled, 00 not, - for none.
"""

import hashlib
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import psutil

from settings.load import ROOT

STATE = [0.01, 0.02, 0.03, 0.04]


def main(folder: Path) -> None:
    """Load and answer."""
    # TorchServe prints its metrics; what is printed must not mix with the figures.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    service = _load(folder)
    loaded = {"cpu_s": time.process_time(), "mb": psutil.Process().memory_info().rss / 1e6, **_answer(service)}
    print(json.dumps(loaded), file=answers, flush=True)
    for line in sys.stdin:
        flag, count = line.split()
        print(json.dumps(_microseconds(service, flag, int(count))), file=answers, flush=True)


def _load(folder: Path) -> Any:
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import ModelLoaderFactory

    sys.path.insert(0, str(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics: Any = MetricsCacheYamlImpl(str(ROOT / "docker" / "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name = "cartpole"
    loader: Any = ModelLoaderFactory.get_model_loader()
    service = loader.load("cartpole", str(folder), "policy_handler.py", None, 1, None, True, metrics)
    service.set_cl_socket(None)
    return service


def _request(flag: str) -> dict[str, Any]:
    headers = {} if flag == "-" else {"traceparent": f"00-{'7' * 32}-{'1' * 16}-{flag}", "X-Request-Id": "r"}
    named = [{"name": name.encode(), "value": value.encode()} for name, value in headers.items()]
    body = {"name": "body", "contentType": "application/json", "value": STATE}
    return {"requestId": b"0", "headers": named, "parameters": [body]}


def _answer(service: Any) -> dict[str, str]:
    """The answer's digest without what is this process's own, to be compared with the others'."""
    message = bytes(service.predict([_request("-")]))
    return {"answer": hashlib.sha256(message[message.index(b'{"model"') :]).hexdigest()}


def _microseconds(service: Any, flag: str, count: int) -> float:
    request = _request(flag)
    began = time.process_time()
    for _ in range(count):
        service.predict([request])
    return 1e6 * (time.process_time() - began) / count


if __name__ == "__main__":
    main(Path(sys.argv[1]))
