"""Makes an archive of a model's files: adds what the manifest is held to, the checksums and the signature."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archive.manifest import fixed, manifest_bytes
from archive.model import CHECKSUMS, FIXED, MANIFEST, SIGNATURE, UNLISTED


def sealed(files: Mapping[str, bytes], manifest: dict[str, Any], key: Path | None = None) -> dict[str, bytes]:
    """Return everything that belongs into the archive of `files` (path inside → contents), signed with `key`.

    Whatever proved an earlier state of them is replaced. Raises ConfigError when `key` holds none.
    """
    listed = {name: content for name, content in files.items() if name not in UNLISTED}
    listed[FIXED] = manifest_bytes(fixed(manifest))
    checksums = "".join(f"{hashlib.sha256(listed[name]).hexdigest()}  {name}\n" for name in sorted(listed)).encode()
    whole = listed | {MANIFEST: manifest_bytes(manifest), CHECKSUMS: checksums}
    if key is None:
        return whole
    # Imported here: who signs nothing needs no cryptography.
    from archive.sign import signature_of

    return whole | {SIGNATURE: signature_of(checksums, key)}
