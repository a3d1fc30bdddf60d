"""Requests made from the OpenAPI document: every answer is one that it documents, bad ones are refused."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_schemathesis_finds_nothing(gateway: str) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")]
    command += ["run", f"{gateway}/openapi.json", "--phases", "examples,coverage,fuzzing", "-n", "5", "--seed", "1"]
    # Whether bytes are a picture no schema can say, so this one check does not apply.
    command += ["--exclude-checks", "positive_data_acceptance", "--suppress-health-check", "all", "--max-time", "15"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert "passed" in done.stdout
