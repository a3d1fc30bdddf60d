"""Memory of a process that handles megabytes again and again, and not in its first thread."""

import contextlib
import ctypes
import gc

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's names
KEPT_BYTES = 256 * 2**20
LARGEST_BYTES = 32 * 2**20


def keep_memory() -> None:
    """Have the C library keep what it is given back, where that is glibc.

    What another thread than the first gives back, it returns to the kernel at once, and the kernel clears and maps it
    anew for the next request: hundreds of pages for each picture.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def settle() -> None:
    """Leave what is loaded out of garbage collection: it stays."""
    gc.collect()
    gc.freeze()
