import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import yaml

from errors import StackError
from gateway.apikey import ApiKeys
from settings import load
from settings.load import ROOT
from stack.compose import SECRETS, prepare


def made(root: Path) -> dict[str, str]:
    return {name: (root / "docker" / "secrets" / name).read_text() for name in SECRETS}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    assert prepare(tmp_path, os.getuid(), os.getgid()) == list(SECRETS)
    return tmp_path


def test_every_secret_is_random_and_its_owners_alone(root: Path) -> None:
    found = made(root)
    assert len(set(found.values())) == len(SECRETS)
    for path in (root / "docker" / "secrets").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE((root / "docker" / "secrets").stat().st_mode) == 0o700


def test_a_second_run_changes_nothing(root: Path) -> None:
    before = made(root)
    (root / "docker" / ".env").write_text("MARINA_UID=7\nMARINA_GID=7\nMARINA_PUBLISH=0.0.0.0\n")
    assert prepare(root, os.getuid(), os.getgid()) == []
    assert made(root) == before
    assert "0.0.0.0" in (root / "docker" / ".env").read_text()


def test_prepare_matches_compose_secrets_and_folders(root: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    for secret in compose["secrets"].values():
        assert (root / "docker" / secret["file"]).is_file()
    mounted = [volume.split(":")[0] for each in compose["services"].values() for volume in each.get("volumes", [])]
    for source in mounted:
        if source.startswith(("./data", "./secrets", "../model_mars", "../.marina")):
            assert (root / "docker" / source).is_dir(), source


def test_prepare_as_root_changes_owner_of_folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    volumes = [volume for each in compose["services"].values() for volume in each.get("volumes", [])]
    written = [source for source, _, *mode in (volume.split(":") for volume in volumes) if "ro" not in mode]
    owners: dict[Path, tuple[int, int]] = {}
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group, **_: owners.update({path.resolve(): (user, group)}))
    prepare(root, 10001, 10002)
    folders = {(root / "docker" / source).resolve() for source in written if source.startswith(("./", "../"))}
    assert folders
    assert {folder: owners.get(folder) for folder in folders} == dict.fromkeys(folders, (10001, 10002))


def test_the_gateway_takes_the_keys_and_no_other(root: Path, tmp_path: Path) -> None:
    config = shutil.copytree(ROOT / "config", tmp_path / "config2", ignore=shutil.ignore_patterns("local"))
    shutil.copytree(root / "docker" / "secrets" / "gateway", config / "local")
    keys = ApiKeys(load([], config=config).gateway.security.api_keys, None)
    found = made(root)
    assert keys.owner(found["gateway_key"]) == "client"
    assert keys.owner(found["prometheus_key"]) == "prometheus"
    assert keys.owner(found["delivery_key"]) == "delivery"
    assert keys.owner(found["grafana_password"]) is None


def test_an_empty_secret_is_named_and_not_used(root: Path) -> None:
    (root / "docker" / "secrets" / "s3_user").write_text("")
    with pytest.raises(StackError, match="s3_user is empty"):
        prepare(root, os.getuid(), os.getgid())


@pytest.mark.parametrize(
    ("name", "told"), [("gateway_key", "does not know the key"), ("s3_password", "does not match s3_user")]
)
def test_a_secret_that_was_made_anew_alone_is_told(root: Path, name: str, told: str) -> None:
    (root / "docker" / "secrets" / name).unlink()
    with pytest.raises(StackError, match=told):
        prepare(root, os.getuid(), os.getgid())


def test_prepare_keeps_added_keys_and_reports_broken_file(root: Path) -> None:
    path = root / "docker" / "secrets" / "gateway" / "default.yaml"
    path.write_text(path.read_text() + f"      - {{name: mine, sha256: {'a' * 64}, rate: 10/second}}\n")
    assert prepare(root, os.getuid(), os.getgid()) == []
    assert "mine" in path.read_text()
    path.write_text("gateway: [")
    with pytest.raises(StackError, match="remove it"):
        prepare(root, os.getuid(), os.getgid())


def test_what_a_killed_run_leaves_is_finished(root: Path) -> None:
    (root / "docker" / "secrets" / ".new-x").write_text("half")
    (root / "docker" / "secrets" / "s3.json").unlink()
    assert prepare(root, os.getuid(), os.getgid()) == []
    pair = json.loads((root / "docker" / "secrets" / "s3.json").read_text())
    assert pair == {"access_key": made(root)["s3_user"], "secret_key": made(root)["s3_password"]}
