"""nginx's own `configure`, and what is said when it fails."""

from pathlib import Path

import pytest

from edge.nginx_headers import _configure
from errors import EdgeError


def sources(folder: Path, *lines: str) -> Path:
    """nginx's sources whose `configure` prints these lines and fails."""
    for name in ("auto", "src"):
        (folder / name).mkdir(parents=True)
    (folder / "conf_flags").write_text("NGX_CONF_FLAGS=()\n")
    script = folder / "configure"
    script.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\nexit 1\n")
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            (
                "checking for gcc -pipe switch ... found",
                "checking for --with-cc-opt='-Werror=format-security' ... found",
                "./configure: error: the HTTP rewrite module requires the PCRE library.",
                "",
            ),
            "./configure: error: the HTTP rewrite module requires the PCRE library.",
        ),
        (("checking for OS", "no space left on device"), "no space left on device"),
        ((), "it said nothing"),
    ],
)
def test_configure_fails_names_what_ended_it_and_no_check(tmp_path: Path, lines: tuple[str, ...], reason: str) -> None:
    with pytest.raises(EdgeError) as caught:
        _configure(sources(tmp_path / "sources", *lines), tmp_path / "configured")
    assert str(caught.value) == f"nginx's sources do not configure: {reason}"
