"""The content of an adopted archive: the first maker's files byte for byte, and the files that Marina adds.

MAR-INF/ADOPTED.json        the manifest of the first maker, unchanged
MAR-INF/model.json          the model card
MAR-INF/golden.json         requests, and the answers of the archive's own handler
MAR-INF/model-config.yaml   what TorchServe's frontend may take from the archive's own configuration
MAR-INF/packages/           the packages of its requirements.txt, with their lock and the machines that they are for
marina_adopted.py           the entry, which calls the archive's own handler
marina_torchvision_ops.py   makes `import torchvision` work beside a torch for CPUs
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from archive.foreign import OWN_FILES, ForeignArchive
from archive.manifest import ADOPTED, ADOPTED_CARD, ADOPTED_GOLDEN, MANIFEST, VERSION_KEY

HANDLERS = Path(__file__).resolve().parents[1] / "handlers"
CONFIG = "MAR-INF/model-config.yaml"
PACKAGES = "MAR-INF/packages"
LOCK, ENVIRONMENT = "MAR-INF/requirements.lock", "MAR-INF/environment.json"
ENTRY, TORCHVISION_OPS = OWN_FILES
NO_PACKAGES: Mapping[str, bytes] = MappingProxyType({})


def adopted_files(
    foreign: ForeignArchive,
    card: Mapping[str, Any],
    golden: Mapping[str, Any],
    config: Mapping[str, Any],
    packages: Mapping[str, bytes] = NO_PACKAGES,
) -> dict[str, bytes]:
    """Return the files of the adopted archive by their path, without manifest, checksums and signature.

    `config` is the content of the frontend's file, empty for none; `packages` are the files of the packages that the
    archive asks for.
    """
    theirs = {name: content for name, content in foreign.files.items() if name != MANIFEST}
    return {
        **theirs,
        **packages,
        ADOPTED: foreign.files[MANIFEST],
        ADOPTED_CARD: _json_bytes(card),
        ADOPTED_GOLDEN: _json_bytes(golden),
        **({CONFIG: yaml.safe_dump(dict(config)).encode()} if config else {}),
        ENTRY: (HANDLERS / "adopted_handler.py").read_bytes(),
        TORCHVISION_OPS: (HANDLERS / "torchvision_ops.py").read_bytes(),
    }


def adopted_manifest(foreign: ForeignArchive, name: str, version: str, files: Collection[str]) -> dict[str, Any]:
    """Return the first maker's manifest with Marina's name, version and entry, for an archive of `files`.

    It names no requirements, because the archive brings its packages: a TorchServe that installs some would add others.
    """
    changed = {"modelName": name, VERSION_KEY: version, "handler": ENTRY}
    config = {"configFile": CONFIG} if CONFIG in files else {}
    model = {key: value for key, value in foreign.model.items() if key not in ("requirementsFile", "configFile")}
    return {**foreign.manifest, "model": {**model, **changed, **config}}


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
