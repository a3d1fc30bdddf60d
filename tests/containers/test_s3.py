"""The profiles core,s3: archives in a bucket, fetched by TorchServe with signed URLs.

MINIO_IMAGE and MC_IMAGE in the environment name MinIO's own images; without them rclone takes their place.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.containers.conftest import MODELS, Projects
from tests.containers.load import load
from tests.containers.project import Project, built, running
from tests.containers.waiting import wait_until_well
from tests.e2e.uploads import DELAY

COMPOSE = "docker compose -f docker/compose.yaml -f tests/containers/s3/compose.yaml --profile core --profile s3"


@pytest.fixture(scope="module")
def bucket(projects: Projects, archives: Path) -> Iterator[Project]:
    """A stack that delivers to a bucket, with both models."""
    project = projects("s3", profiles="core,s3")
    if "MINIO_IMAGE" not in os.environ:
        image = built("s3", Path(sys.executable).parent)
        env = {**project.env, "MARINA_TEST_S3_IMAGE": image}
        project = replace(project, env=env, variables={"COMPOSE": COMPOSE})
    with running(project, archives, MODELS) as started:
        yield started


def test_archives_are_in_the_bucket_and_models_answer(bucket: Project) -> None:
    wait_until_well(bucket)
    archives = {path.name for path in (bucket.folder / "docker/data/minio/models").rglob("*.mar*")}
    assert archives == {"digits-1.0.mar", "cartpole-1.0.mar"}


def test_a_swap_a_rollback_and_a_restart_lose_no_model(bucket: Project) -> None:
    with load(bucket) as answered:
        assert "serves now" in bucket.make("compose_upload", MODEL="cartpole", ARGS=f"{DELAY}=2")
        assert "serves again" in bucket.make("compose_rollback", MODEL="cartpole")
    assert answered.failures == {}
    bucket.make("compose_down")
    bucket.start()
    wait_until_well(bucket)
