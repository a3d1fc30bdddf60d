"""An adopted archive on two engine hosts: a rollout reaches both, and so does the rollback."""

import os
import shutil
from pathlib import Path

import pytest
import requests

from bench.engine_nodes import NodeStack, two_nodes
from bench.local_stack import completed
from settings.load import ROOT
from tests.archive.foreign_archives import parrot, samples
from tests.e2e.uploads import DELAY, QUICK


def served(nodes: NodeStack) -> list[list[str]]:
    """Node, version and whether it serves, of each row of `make models`."""
    rows = nodes.run("-m", "delivery", "models").splitlines()[1:]
    return [[node, version, serves] for node, _, version, serves, *_ in map(str.split, rows)]


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.torchserve(reason="Ray spreads over nodes by itself")
def test_adopted_archive_reaches_both_hosts_and_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local"))
    for name, folder in (("CONFIG", "config"), ("ARCHIVES", "built"), ("STATE", "adoption")):
        monkeypatch.setenv(f"MARINA_{name}", str(tmp_path / folder))
    asked = samples(tmp_path / "samples", asked__json=b'{"say": [1, 2.5]}')
    archive = parrot(tmp_path / "theirs")
    adopted = completed(
        ["-m", "delivery", "adopt", str(archive), str(asked), "trust=yes", "engine=ray"], dict(os.environ)
    )
    assert adopted.returncode == 0, adopted.stdout
    with two_nodes(tmp_path / "nodes", tmp_path / "built", ["parrot"]) as nodes:
        assert served(nodes) == [["a", "1.0", "yes"], ["b", "1.0", "yes"]]
        nodes.run("upload_model.py", "served_model=parrot", *QUICK, f"{DELAY}=2")
        assert served(nodes) == [["a", "1.1", "yes"], ["b", "1.1", "yes"]]
        nodes.run("-m", "delivery", "rollback", "served_model=parrot", *QUICK)
        assert served(nodes) == [["a", "1.0", "yes"], ["b", "1.0", "yes"]]
        url = f"{nodes.gateway}/models/parrot/predict"
        answers = [requests.post(url, json={"say": number}, timeout=30) for number in range(6)]
        assert [answer.json() for answer in answers] == list(range(6))
