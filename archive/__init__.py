"""The .mar as a file: read and checked without running anything in it, stamped with another version, written whole.

    serialize ──sealed, write_zip──▶ NAME.mar ──open_archive, stamp──▶ delivery
                                              ──open_trusted──▶ whoever runs what is in it

Imports neither torch nor numpy, so that what delivers an archive stays small.
"""

from archive.model import Archive, Entry
from archive.read import open_archive
from archive.scan import scan
from archive.seal import sealed
from archive.stamp import stamp, stamped
from archive.structure import Limits
from archive.trust import Trust, Trusted, open_trusted
from archive.write import write_zip

__all__ = [
    "Archive",
    "Entry",
    "Limits",
    "Trust",
    "Trusted",
    "open_archive",
    "open_trusted",
    "scan",
    "sealed",
    "stamp",
    "stamped",
    "write_zip",
]
