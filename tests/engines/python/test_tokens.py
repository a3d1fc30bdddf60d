"""TokenSigner open the interface that they are for, as long as they last, and no other."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines.python.tokens import KeyFile, TokenSigner, bearer, own_secret

TOKENS = TokenSigner(b"secret")


def test_token_opens_its_interface_until_it_expires() -> None:
    token = TOKENS.issue("inference", expires=1000)
    assert TOKENS.accepts("inference", token, now=999.9)
    assert not TOKENS.accepts("inference", token, now=1000)
    assert not TOKENS.accepts("management", token, now=1)


def test_api_key_does_not_expire() -> None:
    assert TOKENS.accepts("API", TOKENS.issue("API"), now=1e12)


def test_token_changed_or_of_another_secret_is_refused() -> None:
    token = TOKENS.issue("inference", expires=1000)
    longer = token.replace(".1000.", ".9000.")
    assert longer != token
    for other in (longer, token[:-1], f"{token}0", TokenSigner(b"another").issue("inference", 1000)):
        assert not TOKENS.accepts("inference", other, now=1)


NO_TOKENS = ["", ".", "inference", "inference.1.2", "inference..x.y", "inference.\u0663.x.y", "\u00e9.1.2.3"]


@pytest.mark.parametrize("token", NO_TOKENS)
def test_token_malformed_is_refused(token: str) -> None:
    assert not TOKENS.accepts("inference", token, now=0)


@pytest.mark.parametrize(
    ("header", "token"), [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Basic abc", ""), ("", ""), ("Bearer", "")]
)
def test_bearer_reads_the_header(header: str, token: str) -> None:
    assert bearer(header) == token


def test_key_file_has_torchserves_format_and_owner_permissions(tmp_path: Path) -> None:
    path = tmp_path / "key_file.json"
    keys = KeyFile(path, TOKENS, life_s=60)
    keys.renew(("management", "inference"), now=1000)
    first = json.loads(path.read_text())
    assert set(first) == {"management", "inference", "API"}
    assert first["inference"]["expiration time"] == "1970-01-01T00:17:40Z"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys.renew(("inference",), now=2000)
    second = json.loads(path.read_text())
    assert second["management"] == first["management"]
    assert second["inference"] != first["inference"]
    assert TOKENS.accepts("inference", second["inference"]["key"], now=2059)


def test_own_secret_is_written_once_and_never_shown(tmp_path: Path) -> None:
    made = own_secret(tmp_path / "ray" / "secret")
    assert own_secret(tmp_path / "ray" / "secret") == made
    assert len(made) == 32
    assert stat.S_IMODE((tmp_path / "ray" / "secret").stat().st_mode) == 0o600
    assert made.hex() not in repr(TokenSigner(made))
    assert "secret" not in repr(TOKENS)


def test_own_secret_written_by_many_threads_is_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(own_secret, [tmp_path / "ray" / "secret"] * 64))
    assert len(found) == 1
    assert [path.name for path in (tmp_path / "ray").iterdir()] == ["secret"]
