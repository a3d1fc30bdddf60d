"""Archives of any maker are checked before their code runs; the management API answers a refusal with 400."""

from pathlib import Path

from archive.trust import ArchiveIdentity, TrustPolicy, verify_archive
from engines.ray.refusals import InvalidArchive
from errors import MarinaError


def check(path: Path, policy: TrustPolicy) -> ArchiveIdentity:
    """Check an archive and return its identity. Raises InvalidArchive when it is broken, unsafe or untrusted."""
    try:
        return verify_archive(path, policy)
    except MarinaError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InvalidArchive(f"Archive {path.name} is refused: {reason}") from None
