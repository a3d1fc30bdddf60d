"""Who else on this machine may read or write a file."""

from pathlib import Path

from delivery.doctor.finding import Seen, closed, is_open, not_checked


def others_write(folder: Path) -> Seen:
    """Open when other users may put files into a folder."""
    if not folder.is_dir():
        return not_checked(f"{folder} is not here")
    mode = folder.stat().st_mode & 0o777
    return is_open(f"{folder} has mode {mode:o}: others may write") if mode & 0o022 else closed(f"mode {mode:o}")


def others_read(secret: Path) -> Seen:
    """Open when other users may read a file: its own mode allows it, and that of the folder, too."""
    if not secret.is_file():
        return not_checked(f"{secret} is not here")
    mode, around = secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777
    if mode & 0o022 or (mode & 0o044 and around & 0o011):
        return is_open(f"{secret} has mode {mode:o}: others may read it")
    return closed(f"mode {mode:o}, in a folder of mode {around:o}")
