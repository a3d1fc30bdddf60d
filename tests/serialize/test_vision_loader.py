"""Class names come from the settings or from torchvision's own tables."""

import pytest

from errors import BuildError
from serialize.labels import resolve_labels, unambiguous


def test_a_list_is_taken_as_it_is() -> None:
    assert resolve_labels(["b", "a"]) == ["b", "a"]


def test_torchvision_names_are_found_without_a_download() -> None:
    names = resolve_labels("torchvision/ResNet18_Weights.IMAGENET1K_V1")
    assert len(names) == len(set(names)) == 1000
    assert names[281] == "tabby"


def test_names_that_stand_twice_are_told_apart() -> None:
    assert unambiguous(["crane", "dog", "crane"]) == ["crane (0)", "dog", "crane (2)"]


@pytest.mark.parametrize("labels", ["imagenet", "torchvision/ResNet18_Weights.NONE", "torchvision/nothing"])
def test_an_unknown_source_is_refused(labels: str) -> None:
    with pytest.raises(BuildError, match=r"served_model\.labels"):
        resolve_labels(labels)
