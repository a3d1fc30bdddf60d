"""Generates nearly correct bodies from a seed, so that a failure can be repeated."""

import json
import random

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"0",
    b"-",
    b"-0",
    b"-0.0",
    b"1e5",
    b"1E-3",
    b"1e400",
    b"1e-400",
    b"1e308",
    b".5",
    b"5.",
    b"+1",
    b"01",
    b"00",
    b"true",
    b"false",
    b"null",
    b"nul",
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b'"text"',
    b"[]",
    b"{}",
    b" ",
    b"\n",
    b"\x00",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b'"\\u0041"',
    b'"\\ud83d\\ude00"',
    b'"\\ud800"',
    b'"\\udc00x"',
    b"\\u00",
    b'"\\q"',
    b'"instances"',
    b'"instances":[[0,0,0,0]]',
    b'"position"',
    b'"speed":1',
    b'"p\\u006fsition":1',
    b"12345678901234567890",
    b"0.1234567890123456789012345",
    b"123456789012345678901234567890e-30",
    b"1.7976931348623157e308",
    b"2.2250738585072011e-308",
    b"9007199254740993",
    b"0.30000001192092896",
    b"1e22",
    b"1e23",
    b"8.5e-324",
    b"3.4028235677973366e38",
    b"4.80000019073486328125",
    b"4.8000001907348633",
    b"-4.8000003",
    b"0.42",
    b"[[0,0,0,0]]",
    b'{"a":1}',
    b"[[[[0]]]]",
    b'"\xe2\x82\xac"',
]


def seeds(fields: list[str] | None, size: int, draw: random.Random) -> list[bytes]:
    """Return correct bodies of every form."""
    one = [round(draw.uniform(-0.4, 0.4), draw.randrange(1, 18)) for _ in range(size)]
    many = [[draw.uniform(-0.4, 0.4) for _ in range(size)] for _ in range(draw.randrange(1, 5))]
    documents: list[object] = [one, many, {"instances": many}, {"instances": [one]}]
    if fields:
        named = dict(zip(fields, one, strict=True))
        turned = dict(reversed(named.items()))
        documents += [named, turned, {"instances": [named, turned, one]}]
    return [json.dumps(document, indent=draw.choice([None, None, 1])).encode() for document in documents]


def mutated(body: bytes, draw: random.Random) -> bytes:
    """Return the body with a few small errors."""
    for _ in range(draw.randrange(0, 4)):
        at, end = sorted((draw.randrange(len(body) + 1), draw.randrange(len(body) + 1)))
        match draw.randrange(7):
            case 0:
                body = body[:at]
            case 1:
                body = body[:at] + body[end:]
            case 2:
                body = body[:at] + draw.choice(TOKENS) + body[at:]
            case 3:
                body = body[:at] + draw.choice(TOKENS) + body[at + 1 :]
            case 4:
                body = body[:at] + body[at:end] * 2 + body[end:]
            case 5:
                body = body[:at] + bytes([draw.randrange(256)]) + body[at + 1 :]
            case _:
                body = _other_token(body, draw)
    return body


def _other_token(body: bytes, draw: random.Random) -> bytes:
    """Replace one number by another token."""
    parts = body.split(b",")
    at = draw.randrange(len(parts))
    parts[at] = draw.choice(TOKENS) if draw.random() < 0.7 else parts[at] + draw.choice(TOKENS)
    return b",".join(parts)


def bodies(count: int, fields: list[str] | None, size: int, seed: int = 0) -> list[bytes]:
    """Return `count` bodies, about a quarter of them correct and none empty, which only the gateway handles."""
    draw = random.Random(seed)
    made: list[bytes] = []
    while len(made) < count:
        made += [body for good in seeds(fields, size, draw) if (body := mutated(good, draw))]
    return made[:count]
