"""What the load generator sends."""

import base64

from bench.client import Job, _Load


def test_a_stamped_request_ends_in_its_number_and_no_two_are_the_same() -> None:
    sent = [base64.b64encode(body).decode() for body in (b"first....", b"second....")]
    load = _Load(Job("127.0.0.1", 1, sent, ["", ""], clients=1, seconds=1, stamp=4))
    whole = [b"".join(load.request(number)) for number in range(300)]
    assert whole[:2] == [b"first\0\0\0\0", b"second\0\0\0\1"]
    assert len(set(whole)) == 300


def test_without_a_stamp_requests_are_sent_as_they_were_prepared() -> None:
    load = _Load(Job("127.0.0.1", 1, [base64.b64encode(b"body").decode()], [""], clients=1, seconds=1))
    assert b"".join(load.request(7)) == b"body"
