import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.lazy_torch import defer


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package that leaves a mark when it is loaded, with a submodule."""
    folder = tmp_path / "heavy"
    folder.mkdir()
    (folder / "__init__.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nweight = 7\n")
    (folder / "part.py").write_text("import heavy\nweight = heavy.weight + 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in ("heavy", "heavy.part"):
        sys.modules.pop(name, None)


def test_deferred_package_loads_at_its_first_use(package: Path) -> None:
    defer("heavy")
    heavy, again = importlib.import_module("heavy"), importlib.import_module("heavy")
    assert again is heavy
    assert not (package / "ran").exists()
    assert heavy.weight == 7
    assert (package / "ran").exists()
    assert sys.modules["heavy"] is heavy


def test_a_submodule_loads_its_deferred_package_first(package: Path) -> None:
    defer("heavy")
    assert importlib.import_module("heavy.part").weight == 8
    assert (package / "ran").exists()


def test_deferred_package_without_the_name_raises_attribute_error(package: Path) -> None:
    defer("heavy")
    with pytest.raises(AttributeError, match="module 'heavy' has no attribute 'height'"):
        _ = importlib.import_module("heavy").height
    assert importlib.import_module("heavy").weight == 7


def test_deferred_package_that_fails_can_be_imported_again(package: Path) -> None:
    defer("heavy")
    (package / "__init__.py").write_text("raise RuntimeError('no such GPU')\n")
    with pytest.raises(RuntimeError, match="no such GPU"):
        _ = importlib.import_module("heavy").weight
    assert "heavy" not in sys.modules


@pytest.mark.usefixtures("package")
def test_defer_ignores_loaded_and_missing_packages() -> None:
    heavy = importlib.import_module("heavy")
    defer("heavy")
    assert sys.modules["heavy"] is heavy
    defer("nowhere")
    assert "nowhere" not in sys.modules
