"""Archives (.mar) as files: checked without running their code, stamped with a version, written reproducibly.

    serialize ──write_sealed──▶ NAME.mar ──open_archive, stamp──▶ delivery
                                         ──open_trusted──▶ programs that run its code
    another maker's archive ──foreign──▶ adopted ──write_sealed──▶ NAME.mar

This package imports neither torch nor numpy, so that the programs that deliver an archive stay small.
"""

from archive.container import UnpackLimits
from archive.reader import Archive, ArchiveFile, open_archive
from archive.trust import TrustedArchive, TrustPolicy, open_trusted, scan
from archive.writer import sealed, stamp, stamped, write_sealed, write_zip

__all__ = [
    "Archive",
    "ArchiveFile",
    "TrustPolicy",
    "TrustedArchive",
    "UnpackLimits",
    "open_archive",
    "open_trusted",
    "scan",
    "sealed",
    "stamp",
    "stamped",
    "write_sealed",
    "write_zip",
]
