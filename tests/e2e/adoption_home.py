"""A stack into which archives of other makers are adopted."""

import shutil
from pathlib import Path

import requests

from settings.load import ROOT
from tests.archive.foreign_archives import samples
from tests.e2e.conftest import Stack

PART = b'--B\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
FORM = PART % (b"one", b"1") + PART % (b"two", b"2") + b"--B--\r\n"


class Home:
    """A stack with a configuration folder of its own, into which adoptions write."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = Stack(stack.env | {"MARINA_CONFIG": str(folder / "config")})
        self.folder = folder
        self.samples = samples(
            folder / "samples",
            asked__json=b'{"say": [1, 2.5]}',
            text__txt=b"hello",
            form__bin=FORM,
            odd__json=b'{"status": 418}',
        )
        (self.samples / "form.bin.type").write_text("multipart/form-data; boundary=B\n")
        shutil.copytree(ROOT / "config", folder / "config")

    def adopt(self, archive: Path, *words: str, status: int = 0) -> str:
        return self.stack.run("-m", "delivery", "adopt", str(archive), str(self.samples), *words, status=status)

    def remove(self, model: str) -> None:
        self.stack.run("-m", "delivery", "remove", f"served_model={model}")
        (self.stack.archives / f"{model}.mar").unlink()

    def workers(self) -> int:
        """The workers of the version that answers; another one may be on its way in or out."""
        versions = requests.get(f"{self.stack.gateway}/models/parrot", timeout=30).json()["versions"]
        return sum(int(version["workers"]["ready"]) for version in versions if version["default"])

    def ask(self, content: object) -> requests.Response:
        return requests.post(self.stack.predict_url("parrot"), json=content, timeout=30)
