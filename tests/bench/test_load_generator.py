"""Requests and counts of the load generator."""

import asyncio
import base64
import contextlib
from dataclasses import replace

import pytest

from bench.load_generator import Job, Result, _Load


def test_load_stamped_requests_end_in_their_numbers() -> None:
    sent = [base64.b64encode(body).decode() for body in (b"first....", b"second....")]
    load = _Load(Job("127.0.0.1", 1, sent, ["", ""], clients=1, seconds=1, stamp=4))
    whole = [b"".join(load.request(number)) for number in range(300)]
    assert whole[:2] == [b"first\0\0\0\0", b"second\0\0\0\1"]
    assert len(set(whole)) == 300


def test_load_unstamped_requests_are_unchanged() -> None:
    load = _Load(Job("127.0.0.1", 1, [base64.b64encode(b"body").decode()], [""], clients=1, seconds=1))
    assert b"".join(load.request(7)) == b"body"


async def _served(job: Job, answer: bytes) -> Result:
    """Run a job against a server that answers everything alike; the job's port is the server's."""

    ended: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.Event())
        end = ended[-1]
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readexactly(4)
                writer.write(answer)
        writer.close()
        await writer.wait_closed()
        end.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        result = await _Load(replace(job, port=server.sockets[0].getsockname()[1])).run()
    for each in ended:
        await each.wait()
    return result


REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(("heeds", "only_one"), [(True, True), (False, False)])
def test_load_refused_client_that_heeds_sends_nothing_more(heeds: bool, only_one: bool) -> None:
    job = Job("127.0.0.1", 0, [base64.b64encode(b"body").decode()], [""], clients=1, seconds=1, heeds=heeds)
    result = asyncio.run(_served(job, REFUSAL))
    assert (result.statuses["429"] == 1) is only_one
    assert result.timely == 0


def test_load_right_answers_within_its_seconds_are_timely() -> None:
    job = Job("127.0.0.1", 0, [base64.b64encode(b"body").decode()], ["yes"], clients=4, seconds=1)
    result = asyncio.run(_served(job, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"))
    assert 0 < result.timely <= result.good
    wrong = asyncio.run(_served(job, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"))
    assert wrong.wrong == wrong.statuses["200"] > 0
    assert wrong.timely == 0
