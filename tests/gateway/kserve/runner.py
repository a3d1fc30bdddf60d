"""Runs in the environment of the stock client: makes its calls, and prints what they return as JSON.

A call names its protocol: `v1` and `v2` over REST, or `grpc`. The last two get their tensors as a list; `binary` sends
them raw.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig

NUMPY = {"FP32": np.float32, "INT32": np.int32, "BYTES": np.object_}


def request_of(model: str, tensors: list[dict[str, Any]], *, binary: bool) -> InferRequest:
    """Return the client's request with these tensors."""
    inputs = [InferInput(each["name"], each["shape"], each["datatype"], each["data"]) for each in tensors]
    for each in inputs if binary else ():
        values = np.array(each.data, NUMPY[each.datatype]).reshape(each.shape)
        each.set_data_from_numpy(values, binary_data=True)
    return InferRequest(model_name=model, infer_inputs=inputs, request_id="order-66")


def plain(answer: Any) -> Any:
    """Return an answer as JSON has it, the outputs of tensors by name."""
    if not isinstance(answer, InferResponse):
        return answer
    outputs = {each.name: np.array(each.as_numpy()).astype(object).tolist() for each in answer.outputs}
    return {"id": answer.id, "model": answer.model_name, "outputs": outputs}


async def main(addresses: dict[str, str], calls: list[dict[str, Any]]) -> list[Any]:
    """Return the result of each call, or the text of its error."""
    found = []
    async with AsyncExitStack() as stack:
        clients: dict[str, Any] = {
            name: await stack.enter_async_context(InferenceRESTClient(RESTConfig(protocol=name, timeout=60)))
            for name in ("v1", "v2")
        }
        clients["grpc"] = await stack.enter_async_context(InferenceGRPCClient(addresses["grpc"]))
        for call in calls:
            protocol, method = call.pop("protocol"), call.pop("method")
            if method == "infer" and protocol != "v1":
                model = call["model_name"] if protocol == "v2" else call.pop("model_name")
                data = request_of(model, call.pop("data"), binary=call.pop("binary"))
                call["data" if protocol == "v2" else "infer_request"] = data
            address = () if protocol == "grpc" else (addresses["http"],)
            try:
                found.append(plain(await getattr(clients[protocol], method)(*address, **call)))
            except httpx.HTTPStatusError as error:
                found.append(f"{error.response.status_code}: {error}")
            except grpc.aio.AioRpcError as error:
                found.append(f"{error.code().name}: {error.details()}")
    return found


def text(value: bytes) -> str:
    """Return an element of BYTES as text."""
    return value.decode()


given = json.load(sys.stdin)
print(json.dumps(asyncio.run(main(given["addresses"], given["calls"])), default=text))  # noqa: T201
