"""The last step of a rollout and of a rollback: a running edge serves the same version."""

import logging
import subprocess
import sys
from pathlib import Path

from errors import EdgeError, last_words
from settings import Settings
from settings.load import ROOT

log = logging.getLogger(__name__)


def follow(model: str, version: str, archive: Path, settings: Settings) -> None:
    """Have a running edge of this model serve `archive`; do nothing where no edge was made.

    The edge's own command does the work in a separate process, because it loads torch. Raises EdgeError when the
    edge keeps its old version while the engine serves the new one.
    """
    if not (Path(settings.paths.state) / "edge" / "nginx.conf").is_file():
        return
    command = [sys.executable, "-m", "edge", "follow", model, version, str(archive.absolute())]
    text = settings.model_dump_json(exclude_unset=True)  # a task refuses settings of others, null ones too
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise EdgeError(last_words(done.stderr, done.returncode))
    if done.stdout:
        log.info("%s", done.stdout.strip())
