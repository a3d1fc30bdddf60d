import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from errors import StackError, StoreError
from gateway.apikey import ApiKeys
from settings import load
from settings.load import ROOT
from stack import compose, compose_projects
from stack.compose import MOUNTED, SECRETS, isolate, prepare


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
        if not secret["file"].startswith("${"):  # that one is the builder's own
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
    (root / "docker" / ".env").unlink()
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


def clone(folder: Path) -> Path:
    """Make a repository with the mounted configuration, as a clone under umask 077 has it."""
    for name in MOUNTED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("local", "__pycache__"))
        else:
            shutil.copy(source, target)
    for command in (["init", "-q"], ["add", "config", "docker"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    for name in MOUNTED:
        for path in (folder / name, *(folder / name).rglob("*")):
            path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


def closed(root: Path) -> list[Path]:
    """Return what a user other than the owner cannot read of the mounted configuration."""
    found = (path for name in MOUNTED for path in (root / name, *(root / name).rglob("*")) if "local" not in path.parts)
    return [path for path in found if path.stat().st_mode & (0o5 if path.is_dir() else 0o4) == 0]


def test_mounted_configuration_is_that_of_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    volumes = [volume for each in compose["services"].values() for volume in each.get("volumes", [])]
    sources = {os.path.normpath(f"docker/{source}") for source, *_ in (volume.split(":") for volume in volumes)}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {source for source in sources if any(f"{path}/".startswith(f"{source}/") for path in tracked)} == set(
        MOUNTED
    )


def test_clone_of_umask_077_becomes_readable_for_another_user(tmp_path: Path) -> None:
    root = clone(tmp_path)
    assert closed(root)
    prepare(root, os.getuid() + 1, os.getgid() + 1)
    assert not closed(root)
    assert stat.S_IMODE((root / "docker" / "secrets").stat().st_mode) == 0o700


def test_clone_of_umask_077_stays_closed_for_its_owner(tmp_path: Path) -> None:
    root = clone(tmp_path)
    before = closed(root)
    prepare(root, os.getuid(), os.getgid())
    assert closed(root) == before


def test_closed_file_that_git_does_not_track_is_named_and_kept(tmp_path: Path) -> None:
    root = clone(tmp_path)
    (root / "config" / "store" / "mine.yaml").write_text("name: mine\n")
    (root / "config" / "store" / "mine.yaml").chmod(0o600)
    with pytest.raises(StackError, match=r"mine\.yaml cannot be read by user 7, .* run: chmod -R a\+rX .*mine\.yaml$"):
        prepare(root, 7, 7)
    assert stat.S_IMODE((root / "config" / "store" / "mine.yaml").stat().st_mode) == 0o600


def test_clone_of_another_owner_is_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = clone(tmp_path)
    prepare(root, os.getuid(), os.getgid())
    (root / "docker" / ".env").write_text("MARINA_UID=7\nMARINA_GID=7\n")

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(StackError, match=r"config cannot be read by user 7, .* run: chmod -R a\+rX .*config$"):
        prepare(root, 7, 7)


def test_containers_keep_the_user_of_the_first_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "docker" / ".env").write_text("MARINA_UID=1234\nMARINA_GID=1235\n")
    owners: set[tuple[int, int]] = set()
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda path, user, group, **_: owners.add((user, group)))
    prepare(root, 10001, 10001)
    assert owners == {(1234, 1235)}


def test_env_file_without_a_user_is_reported(root: Path) -> None:
    (root / "docker" / ".env").write_text("MARINA_PUBLISH=0.0.0.0\n")
    with pytest.raises(StackError, match=r"\.env needs MARINA_UID and MARINA_GID"):
        prepare(root, os.getuid(), os.getgid())


def test_two_runs_at_once_agree_on_every_secret(tmp_path: Path) -> None:
    command = (
        "import sys; from pathlib import Path; from stack.compose import prepare; prepare(Path(sys.argv[1]), 7, 7)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", command, str(tmp_path)], cwd=ROOT) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4
    assert prepare(tmp_path, 7, 7) == []


def test_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"docker: .*; a file or folder of another kind has this name"):
        prepare(tmp_path, 7, 7)


@pytest.mark.parametrize(
    ("version", "before", "after"),
    [
        (20, "MARINA_UID=7\n", "MARINA_UID=7\n"),
        (28, "MARINA_UID=7\n", "MARINA_UID=7\nMARINA_BRIDGE_MODE=isolated\n"),
        (28, "MARINA_BRIDGE_MODE=nat\nMARINA_UID=7\n", "MARINA_BRIDGE_MODE=nat\nMARINA_UID=7\n"),
    ],
)
def test_networks_keep_the_host_out_where_the_engine_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, before: str, after: str
) -> None:
    path = tmp_path / ".env"
    path.write_text(before)
    monkeypatch.setattr(compose_projects, "engine_version", lambda: version)
    isolate(path)
    assert path.read_text() == after


def test_own_checks_the_name_alone_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []
    monkeypatch.setattr(compose, "ROOT", tmp_path)
    monkeypatch.setattr(compose_projects, "check", checked.append)
    with pytest.raises(StackError, match=r"docker/\.env is missing; run: make compose_secrets"):
        compose.main(["own"])
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / ".env").write_text("MARINA_UID=7\n")
    assert compose.main(["own"]) == 0
    assert checked == [tmp_path / "docker"]
    assert [path.name for path in tmp_path.rglob("*")] == ["docker", ".env"]
