"""Tensors in system shared memory: stock clients and a gateway of two processes, and the faults of regions."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from errors import Forbidden, NotAllowed, OverCapacity, RequestError, TooLarge, UnreadableInput
from gateway.examples import PICTURE
from gateway.http.body import BodyBudget
from gateway.http.context import RequestContext
from gateway.oip.shared_memory import FOLDER, Region, RegionRegistry, RegionSlice, RequestMemory
from tests.gateway.gateway_program import Served, program
from tests.gateway.given import GivenTorchServe
from tests.gateway.triton.client import KINDS, Client, InferenceServerException, pictures

STATE = np.array([[0.1, 0.2, 0.01, -0.2]], np.float32)


@dataclass(frozen=True)
class Made:
    """A shared memory object of this process."""

    name: str
    data: memoryview


@contextmanager
def region(size: int, content: bytes = b"") -> Iterator[Made]:
    """An object of this size, as tritonclient makes it."""
    made = SharedMemory(create=True, size=size)
    assert made.buf is not None
    try:
        made.buf[: len(content)] = content
        yield Made(made.name, made.buf)
    finally:
        made.close()
        # A test may have removed it; by this the process forgets it, too.
        (FOLDER / made.name).touch()
        made.unlink()


@pytest.fixture(scope="module")
def served(given: GivenTorchServe) -> Iterator[Served]:
    with program(given, "gateway.shared_memory=true", "gateway.processes=2") as started:
        yield started


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_are_read_and_written_in_regions(served: Served, kind: str) -> None:
    raw = len(PICTURE).to_bytes(4, "little") + PICTURE
    with (
        region(4096, b"\0" * 8 + STATE.tobytes() + raw) as sent,
        region(64) as answered,
        Client(kind, served.http, served.grpc) as client,
    ):
        assert "system_shared_memory" in client.describe("get_server_metadata")["extensions"]
        client.call("register_system_shared_memory", "sent", sent.name, 4088, offset=8)
        client.call("register_system_shared_memory", "answered", f"/{answered.name}", 64)
        status = client.describe("get_system_shared_memory_status")
        names = status["regions"] if isinstance(status, dict) else [each["name"] for each in status]
        assert sorted(names) == ["answered", "sent"]
        state = client.tensor("observation", STATE, "FP32", ("sent", 16, 0))
        found = client.call("infer", "cartpole", [state], outputs=[client.output("action", ("answered", 8, 16))])
        assert bytes(answered.data[16:24]) == np.array([1], np.int64).tobytes()
        parameters = found.response["outputs"][0]["parameters"]
        assert sorted(parameters) == ["shared_memory_byte_size", "shared_memory_offset", "shared_memory_region"]
        image = client.tensor("image", pictures(PICTURE), "BYTES", ("sent", len(raw), 16))
        assert client.call("infer", "digits", [image]).as_numpy("label").tolist() == [b"7"]
        client.call("unregister_system_shared_memory", "sent")
        with pytest.raises(InferenceServerException, match="no shared memory region 'sent' is registered"):
            client.call("infer", "cartpole", [state])
        client.call("unregister_system_shared_memory")


def test_region_is_known_to_every_process(served: Served) -> None:
    path = f"{served.url}/v2/systemsharedmemory"
    with region(64) as made:
        added = requests.post(f"{path}/region/r/register", json={"key": made.name, "byte_size": 64}, timeout=30)
        assert added.status_code == 200, added.text
        # Each request has a connection of its own, which is one or the other process's.
        found = [requests.get(f"{path}/status", timeout=30).json() for _ in range(20)]
        assert found == [[{"name": "r", "key": made.name, "offset": 0, "byte_size": 64}]] * 20
        requests.post(f"{path}/unregister", timeout=30)
        assert [requests.get(f"{path}/status", timeout=30).json() for _ in range(20)] == [[]] * 20


def test_region_that_shrinks_or_vanishes_is_an_error_of_its_requests_alone(served: Served) -> None:
    with region(4096, STATE.tobytes()) as made, Client("grpc", served.http, served.grpc) as client:
        client.call("register_system_shared_memory", "r", made.name, 4096)
        state = client.tensor("observation", STATE, "FP32", ("r", 16, 0))
        plain = client.tensor("observation", STATE, "FP32")
        place = [client.output("action", ("r", 8, 0))]
        try:
            for spoil, words in (
                (lambda file: os.truncate(file, 8), "smaller"),
                (Path.unlink, "No such file"),
            ):
                spoil(FOLDER / made.name)
                with pytest.raises(InferenceServerException, match=words):
                    client.call("infer", "cartpole", [state])
                with pytest.raises(InferenceServerException, match=words):
                    client.call("infer", "cartpole", [plain], outputs=place)
                assert client.call("infer", "cartpole", [plain]).as_numpy("action").tolist() == [1]
            assert served.process.poll() is None
        finally:
            client.call("unregister_system_shared_memory")


def test_cuda_shared_memory_is_refused_by_name(served: Served) -> None:
    with Client("grpc", served.http, served.grpc) as client:
        client.call("unregister_cuda_shared_memory")
        assert client.describe("get_cuda_shared_memory_status") == {}
        with pytest.raises(InferenceServerException, match="'gpu': CUDA shared memory is not offered"):
            client.call("register_cuda_shared_memory", "gpu", b"\0" * 64, 0, 64)


def test_client_of_another_machine_is_refused(served: Served) -> None:
    path = "/v2/systemsharedmemory/status"
    assert requests.get(served.url + path, timeout=30).json() == []
    answer = requests.get(served.url + path, headers={"X-Forwarded-For": "192.0.2.7"}, timeout=30)
    assert (answer.status_code, "for clients on the gateway's machine" in answer.json()["error"]) == (403, True)


@pytest.fixture
def registry(tmp_path: Path) -> RegionRegistry:
    return RegionRegistry(tmp_path)


def memory(registry: RegionRegistry | None, *, is_local: bool = True, limit: int = 4096) -> RequestMemory:
    return RequestMemory(registry, is_local, BodyBudget(limit, limit), RequestContext("id", 0.0))


def place(name: Any = "r", offset: Any = 0, size: Any = 8) -> dict[str, Any]:
    return {"shared_memory_region": name, "shared_memory_offset": offset, "shared_memory_byte_size": size}


BEYOND: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": (place("s"), "no shared memory region 's' is registered"),
    "too long": (place(size=65), "65 bytes from 0 on are beyond the 64 bytes"),
    "too far": (place(offset=60), "8 bytes from 60 on are beyond"),
    "far beyond": (place(offset=2**64), "are beyond"),
    "negative": (place(offset=-8), "numbers of bytes"),
    "negative size": (place(size=-1), "numbers of bytes"),
    "text": (place(size="8"), "numbers of bytes"),
    "without size": ({"shared_memory_region": "r"}, "numbers of bytes"),
}


@pytest.mark.parametrize(("parameters", "words"), BEYOND.values(), ids=BEYOND.keys())
def test_place_beyond_its_region_is_refused(registry: RegionRegistry, parameters: dict[str, Any], words: str) -> None:
    with region(4096) as made:
        registry.add(Region("r", made.name, 16, 64))
        with pytest.raises(UnreadableInput, match=words):
            memory(registry).slice_of(parameters, "x")


@pytest.mark.parametrize(
    ("key", "size", "words"),
    [
        ("/nothing-has-this-name", 8, "No such file"),
        ("../../etc/passwd", 8, "names no shared memory object"),
        ("..", 8, "names no shared memory object"),
        ("", 8, "names no shared memory object"),
        ("a\0b", 8, "names no shared memory object"),
        ("k" * 300, 8, "File name too long"),
        ("marina-test-link", 8, "symbolic links"),
        ("marina-test-folder", 8, "smaller|Is a directory"),
        ("marina-test-small", 2**64, "smaller"),
    ],
)
def test_object_that_does_not_hold_the_region_is_refused(
    registry: RegionRegistry, key: str, size: int, words: str
) -> None:
    link, folder, small = (FOLDER / f"marina-test-{each}" for each in ("link", "folder", "small"))
    link.symlink_to("/etc/passwd")
    folder.mkdir()
    small.write_bytes(b"1234")
    try:
        with pytest.raises(UnreadableInput, match=words):
            registry.add(Region("r", key, 0, size))
    finally:
        link.unlink()
        folder.rmdir()
        small.unlink()
    assert registry.all() == {}


def test_registry_is_one_for_all_processes_and_refuses_a_taken_name(tmp_path: Path) -> None:
    one, other = RegionRegistry(tmp_path), RegionRegistry(tmp_path)
    with region(64) as made:
        entry = Region("r", made.name, 0, 64)
        one.add(entry)
        assert other.all() == {"r": entry}
        with pytest.raises(UnreadableInput, match="'r' is registered already"):
            other.add(entry)
        other.remove(None)
        assert one.all() == {}
        one.remove("r")


def test_registry_without_a_folder_is_its_process_alone() -> None:
    alone = RegionRegistry(None)
    with region(64) as made:
        alone.add(Region("r", made.name, 0, 64))
        assert list(alone.all()) == ["r"]
        alone.remove("r")
    assert alone.all() == {}


def test_inputs_in_memory_count_against_the_budget_of_bodies(registry: RegionRegistry) -> None:
    with region(8192, b"12345678") as made:
        whole = Region("r", made.name, 0, 8192)
        registry.add(whole)
        used = memory(registry)
        assert used.read(RegionSlice(whole, 0, 8)) == b"12345678"
        assert (used.budget.held, used.context.held) == (8, 8)
        for size, error in ((4097, TooLarge), (4096, OverCapacity)):
            with pytest.raises(error):
                used.read(RegionSlice(whole, 0, size))
        with pytest.raises(UnreadableInput, match=r"output 'x' needs 9 bytes .*gives it 8"):
            used.write(RegionSlice(whole, 0, 8), b"123456789", "x")


def test_region_registered_as_other_bytes_during_a_request_is_its_error(registry: RegionRegistry) -> None:
    with region(4096) as made, region(4096) as other:
        before = Region("r", made.name, 0, 8)
        registry.add(before)
        used = memory(registry)
        found = used.slice_of(place(), "x")
        assert found is not None
        changes: list[dict[str, Any]] = [{"offset": 4088}, {"byte_size": 4}, {"key": other.name}]
        for change in changes:
            registry.remove("r")
            registry.add(replace(before, **change))
            with pytest.raises(UnreadableInput, match="'r' was registered again"):
                used.write(found, b"12345678", "x")
            with pytest.raises(UnreadableInput, match="'r' was registered again"):
                used.read(found)
        assert not any(made.data)
        assert not any(other.data)
        registry.remove("r")
        registry.add(before)
        used.write(found, b"12345678", "x")
        assert used.read(found) == b"12345678"


def test_memory_is_refused_where_it_is_off_or_the_client_elsewhere(registry: RegionRegistry) -> None:
    cases: list[tuple[RequestMemory, type[RequestError]]] = [
        (memory(None), NotAllowed),
        (memory(registry, is_local=False), Forbidden),
    ]
    for used, error in cases:
        with pytest.raises(error):
            used.slice_of(place(), "x")
        assert used.slice_of({}, "x") is None
