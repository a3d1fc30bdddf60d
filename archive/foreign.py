"""Archives of other makers, as torch-model-archiver writes them. They are read and checked; none of their code runs.

    NAME.mar      a zip                                 ─┐
    NAME.tar.gz   --archive-format tgz                   ├─▶ ForeignArchive
    NAME/         --archive-format no-archive: a folder ─┘

No file is unpacked to the disk and none is unpickled.
"""

import gzip
import hashlib
import stat
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from archive.container import STORED, Container, Member, UnpackLimits, check_structure, naming
from archive.manifest import ADOPTED, CHECKSUMS, FIXED, MANIFEST, SIGNATURE, VERSION, object_of
from errors import ArchiveError

GZIP = b"\x1f\x8b"
DEFAULT_HANDLERS = (
    "base_handler",
    "dali_image_classifier",
    "image_classifier",
    "image_segmenter",
    "object_detector",
    "text_classifier",
    "trt_llm_handler",
    "vllm_handler",
)
"""TorchServe's own handlers, which an archive names without a file."""
WORKFLOW_MANIFEST = "WAR-INF/MANIFEST.json"
RUNTIMES = ("python", "python3")
FIRST_VERSION = "1.0"  # TorchServe's own default
OWN_FILES = ("marina_adopted.py", "marina_torchvision_ops.py")
"""The code that adoption adds."""


@dataclass(frozen=True)
class ForeignArchive:
    """An archive of another maker: its files by path, its manifest, and the `sha256` of the file, or of all files."""

    path: Path
    sha256: str
    files: Mapping[str, bytes] = field(repr=False)
    manifest: Mapping[str, Any]

    @property
    def model(self) -> Mapping[str, Any]:
        """The manifest's entry about the model."""
        found: Mapping[str, Any] = self.manifest["model"]
        return found

    @property
    def name(self) -> str:
        """The name under which TorchServe registers the model by default."""
        return str(self.model["modelName"])

    @property
    def version(self) -> str:
        """Its version, or 1.0 where it has none that TorchServe could compare."""
        version = str(self.model.get("modelVersion") or FIRST_VERSION)
        return version if VERSION.fullmatch(version) else FIRST_VERSION

    @property
    def handler(self) -> str:
        """The handler's entry: FILE.py, FILE.py:FUNCTION, or the name of one of TorchServe's own handlers."""
        return str(self.model["handler"])

    @property
    def handler_file(self) -> str | None:
        """The handler's file, None for one of TorchServe's own."""
        name = f"{self.handler.partition(':')[0].removesuffix('.py')}.py"
        return name if name in self.files else None

    @property
    def requirements(self) -> str | None:
        """The text of its requirements; None where it has none."""
        name = self.model.get("requirementsFile")
        return None if name is None else self.files[str(name)].decode("utf-8", "replace")

    @property
    def config(self) -> Mapping[str, Any]:
        """The content of its model-config.yaml. Raises ArchiveError when it is not a mapping."""
        name = self.model.get("configFile")
        return {} if name is None else yaml_mapping(self.files[str(name)], f"{self.path}: {name}")


def yaml_mapping(content: bytes, where: str) -> dict[str, Any]:
    """Parse a YAML file of keys and values; `where` begins the error. Raises ArchiveError for any other content."""
    try:
        found = yaml.safe_load(content) or {}
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: bytes that are no text, a 13th month
        found = None
    if not isinstance(found, dict):
        raise ArchiveError(f"{where} is not a YAML file of keys and values")
    return {str(key): value for key, value in found.items()}


def read_foreign(path: Path, limits: UnpackLimits) -> ForeignArchive:
    """Read an archive that this project did not build.

    Raises ArchiveError, one line that begins with the path, for anything broken, unsafe, or not a model's archive.
    """
    with naming(path):
        files, sha256 = _read(path, limits)
        manifest = object_of(_document(files), MANIFEST)
        _check(files, manifest)
        return ForeignArchive(path, sha256, files, manifest)


def _read(path: Path, limits: UnpackLimits) -> tuple[dict[str, bytes], str]:
    if path.is_dir():
        files = _folder_files(path, limits)
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
        return files, digest.hexdigest()
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return (_tar_files(path, limits) if packed else _zip_files(path, limits)), sha256


def _zip_files(path: Path, limits: UnpackLimits) -> dict[str, bytes]:
    with Container.open(path) as container:
        check_structure(container.members, limits)
        return {member.name: b"".join(container.chunks(member)) for member in container.members}


def _tar_files(path: Path, limits: UnpackLimits) -> dict[str, bytes]:
    """Return the files of a tar, without the folder that the archiver puts around them."""
    files: dict[str, bytes] = {}
    left = limits.total
    try:
        with gzip.open(path) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for entry in tar:
                if entry.isdir():
                    continue
                left -= entry.size
                if not entry.isreg() or left < 0 or len(files) > limits.files:
                    raise ArchiveError(_unsafe(entry, limits))
                content = tar.extractfile(entry)
                _add(files, entry.name.removeprefix("./"), b"" if content is None else content.read())
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ArchiveError(f"not a readable tar.gz: {error}") from None
    _check_files(files, limits)
    around = {PurePosixPath(name).parts[0] for name in files}
    if MANIFEST not in files and len(around) == 1:
        [folder] = around
        files = {name.removeprefix(f"{folder}/"): content for name, content in files.items()}
    return files


def _unsafe(entry: tarfile.TarInfo, limits: UnpackLimits) -> str:
    if not entry.isreg():
        return f"holds the link or special file {entry.name!r}"
    return f"holds more than {limits.files} files or {limits.total} bytes"


def _folder_files(path: Path, limits: UnpackLimits) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    left = limits.total
    for found in sorted(path.rglob("*")):
        status = found.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        name = found.relative_to(path).as_posix()
        if not stat.S_ISREG(status.st_mode):
            raise ArchiveError(f"holds the link or special file {name!r}")
        left -= status.st_size
        if left < 0 or len(files) > limits.files:
            raise ArchiveError(f"holds more than {limits.files} files or {limits.total} bytes")
        _add(files, name, found.read_bytes())
    _check_files(files, limits)
    return files


def _add(files: dict[str, bytes], name: str, content: bytes) -> None:
    if name in files:
        raise ArchiveError(f"holds {name!r} twice")
    files[name] = content


def _check_files(files: Mapping[str, bytes], limits: UnpackLimits) -> None:
    """Hold files of a tar or a folder to the rules of a zip's."""
    members: Iterable[Member] = (
        Member(name, STORED, 0, len(content), len(content), 0, 0) for name, content in files.items()
    )
    check_structure(tuple(members), limits)


def _document(files: Mapping[str, bytes]) -> bytes:
    if WORKFLOW_MANIFEST in files:
        raise ArchiveError(
            "is a workflow, which chains models inside TorchServe: adopt each of its models by its own .mar, and chain"
            " them in business.py"
        )
    if MANIFEST not in files:
        raise ArchiveError(f"has no {MANIFEST}, so torch-model-archiver did not write it")
    return files[MANIFEST]


def _check(files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Raise ArchiveError for an archive that cannot be adopted."""
    if FIXED in files or ADOPTED in files:
        raise ArchiveError("is one of Marina's own archives already; `make upload_model` rolls it out as it is")
    reserved = {CHECKSUMS, SIGNATURE, *OWN_FILES}
    if taken := sorted(name for name in files if name in reserved or _in_mar_inf(name)):
        raise ArchiveError(f"holds {taken[0]!r}, a name that adoption adds; pack it again without that file")
    runtime = manifest.get("runtime", RUNTIMES[0])
    if runtime not in RUNTIMES:
        raise ArchiveError(f"has the runtime {str(runtime)[:80]!r}; archives of Python handlers can be adopted")
    _check_model(files, manifest.get("model"))


def _in_mar_inf(name: str) -> bool:
    return name.startswith("MAR-INF/") and name != MANIFEST


def _check_model(files: Mapping[str, bytes], model: Any) -> None:
    if not isinstance(model, dict):
        raise ArchiveError(f"{MANIFEST} has no model")
    for key in ("modelName", "handler"):
        if not isinstance(model.get(key), str) or not model[key]:
            raise ArchiveError(f"{MANIFEST} has no model.{key}")
    for key in ("serializedFile", "modelFile", "requirementsFile", "configFile"):
        if (name := model.get(key)) is not None and (not isinstance(name, str) or name not in files):
            raise ArchiveError(f"{MANIFEST} names {str(name)[:80]!r} as {key}, which is not in the archive")
    module = model["handler"].partition(":")[0].removesuffix(".py")
    if f"{module}.py" not in files and module not in DEFAULT_HANDLERS:
        known = ", ".join(DEFAULT_HANDLERS)
        raise ArchiveError(
            f"{MANIFEST} names the handler {model['handler'][:80]!r}, which is neither in the archive nor one of"
            f" TorchServe's own: {known}"
        )
