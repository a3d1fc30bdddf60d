"""Where reports lie: each under a name that no other has, whole or not at all."""

import contextlib
import errno
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from errors import ConfigError, LoadError, StoreError
from files import write_once
from loadtest.document import SCHEMA_VERSION
from loadtest.html.run_page import run_page
from settings.schema import StressSettings


@dataclass(frozen=True)
class Place:
    """Either one file that was named, or a folder of dated ones."""

    file: Path | None
    folder: Path | None

    @classmethod
    def of(cls, stress: StressSettings, root: Path) -> "Place | None":
        """Where the settings want the report; None for nowhere. Raises ConfigError rather than lose figures later."""
        if stress.report is not None:
            file = Path(stress.report)
            for path in (file, file.with_suffix(".html")):
                if path.exists():
                    raise ConfigError(f"stress.report: {path} is there already; a report never replaces another")
            return cls(_checked("stress.report", file.parent) / file.name, None)
        if stress.reports is not None:
            return cls(None, _checked("stress.reports", root / stress.reports))
        return None

    def write(self, content: dict[str, Any], started: datetime) -> tuple[Path, Path]:
        """Write the JSON and the page; returns both paths. Raises LoadError, and then neither is there."""
        if self.file is not None:
            return _write(content, self.file)
        assert self.folder is not None
        stem = f"{content['name']}-{started:%Y%m%d-%H%M%S}"
        number = 1
        while True:
            try:
                return _write(content, self.folder / f"{stem}{f'-{number}' if number > 1 else ''}.json")
            except FileExistsError:
                number += 1


def read(path: Path) -> dict[str, Any]:
    """A report that was written before. Raises LoadError in one line when it is none."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise LoadError(f"{path} is no report: not JSON, or cut short") from None
    if not isinstance(content, dict) or "rounds" not in content or "schema_version" not in content:
        raise LoadError(f"{path} is no report of run_stress")
    if content["schema_version"] != SCHEMA_VERSION:
        raise LoadError(f"{path} was written by another version of the kit; measure again")
    return content


def write_new(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Raises FileExistsError or StoreError."""
    if not write_once(path, text, 0o644):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _write(content: dict[str, Any], path: Path) -> tuple[Path, Path]:
    page = path.with_suffix(".html")
    written: list[Path] = []
    try:
        for target, text in ((path, json.dumps(content, indent=1) + "\n"), (page, run_page(content))):
            write_new(target, text)
            written.append(target)
    except (StoreError, FileExistsError) as error:
        for target in written:
            with contextlib.suppress(OSError):
                target.unlink()
        if isinstance(error, FileExistsError):
            raise
        raise LoadError(f"the report is not written: {error}") from None
    return path, page


def _checked(setting: str, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(f"{setting}: {folder}: {error.strerror}") from None
