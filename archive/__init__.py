"""The .mar as a file: read and checked without running anything in it, stamped with another version, written whole.

    serialize ──write──▶ NAME.mar ──read, stamp──▶ delivery

Imports neither torch nor numpy, so that what delivers an archive stays small.
"""

from archive.model import Archive, Entry
from archive.read import open_archive
from archive.scan import scan
from archive.stamp import stamp, stamped
from archive.structure import Limits
from archive.workplace import private_folder
from archive.write import write_zip

__all__ = ["Archive", "Entry", "Limits", "open_archive", "private_folder", "scan", "stamp", "stamped", "write_zip"]
