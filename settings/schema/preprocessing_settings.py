"""`served_model.preprocessing`: from a picture to the network's input."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.schema.fields import PositiveInt, SettingsGroup, Size

CHECKPOINT = "checkpoint"
"""The preset of a checkpoint that is a snapshot folder."""
Channel = Annotated[int, Field(ge=0, le=255)]


class PreprocessingSettings(SettingsGroup):
    """The conversion of an image to the network's input; the archive contains it for the worker."""

    preset: str | None = Field(
        None,
        description="torchvision/WEIGHTS.ENTRY, timm/NAME, a preprocessor_config.json, or checkpoint for the one in a "
        "snapshot folder: what is not stated here",
        exclude_if=lambda preset: preset is None,
    )
    resize: Size | PositiveInt | None = Field(
        None, description="[height, width], or one number for the shorter side, in pixels"
    )
    crop_ratio: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="crop divided by this is the shorter side, in place of resize",
        exclude_if=lambda ratio: ratio is None,
    )
    letterbox: bool = Field(
        False,
        description="the whole picture fits into resize, its shape kept, and padding fills the rest",
        exclude_if=lambda letterbox: not letterbox,
    )
    padding: tuple[Channel, ...] | None = Field(
        None, description="of letterbox, a value for each channel; null: 0", exclude_if=lambda padding: padding is None
    )
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"] = "bilinear"
    antialias: bool = Field(
        True,
        description="false: as cv2 and torch resize tensors, for networks trained so",
        exclude_if=lambda antialias: antialias,
    )
    dtype: Literal["uint8", "float32"] = Field(
        "uint8",
        description="float32: pictures of 16 bits and floats are not rounded to 8 bits",
        exclude_if=lambda dtype: dtype == "uint8",
    )
    crop: Size | None = Field(None, description="centre crop [height, width] after resizing, in pixels")
    channels: Literal[1, 3, 4] = Field(
        3, description="1: grey, 3: RGB, 4: RGBA", exclude_if=lambda channels: channels == 3
    )
    mean: tuple[float, ...] | None = Field(None, description="subtracted from each channel, after scaling to 0..1")
    std: tuple[float, ...] | None = Field(None, description="divides each channel, after the mean is subtracted")
    background: tuple[Channel, Channel, Channel] = Field(
        (255, 255, 255), description="[red, green, blue] behind transparent pictures, 0..255"
    )
    white: Annotated[float, Field(gt=0, le=2**32 - 1)] | None = Field(
        None, description="value that is white in grey pictures of more than 8 bits; null: the largest of their bits"
    )

    @property
    def target(self) -> tuple[int, int] | int:
        """`resize` of complete settings, in which a preset or crop_ratio stands for it no longer."""
        assert self.resize is not None
        return self.resize

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.crop or (self.target if isinstance(self.target, tuple) else (self.target, self.target))

    @property
    def normalisation(self) -> dict[str, list[float]]:
        """`mean` and `std` of complete settings, by these names."""
        assert self.mean is not None
        assert self.std is not None
        return {"mean": list(self.mean), "std": list(self.std)}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.preset is None and self.resize is None and self.crop_ratio is None:
            raise ValueError("resize is missing: [height, width] in pixels, or one number for the shorter side")
        if self.crop_ratio is not None and (self.resize is not None or self.crop is None):
            raise ValueError("crop_ratio needs crop, and takes the place of resize")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is None and self.preset is None:
                raise ValueError(f"{name} is missing: a number for each of {self.channels} channels")
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{name} has {len(values)} numbers for {self.channels} channels")
        if any(value <= 0 for value in self.std or ()):
            raise ValueError("std must be positive")
        return self

    @model_validator(mode="after")
    def _leaves_one_size(self) -> Self:
        if isinstance(self.resize, int) and self.crop is None and not self.letterbox and self.preset is None:
            raise ValueError("resize by the shorter side needs a crop: a batch must have one size")
        if not self.antialias and self.interpolation == "lanczos":
            raise ValueError("lanczos always antialiases; take bilinear or bicubic")
        if self.letterbox and self.crop is not None:
            raise ValueError("letterbox shows the whole picture; leave out crop")
        if self.padding is not None and (not self.letterbox or len(self.padding) != self.channels):
            raise ValueError(f"padding is of letterbox and needs {self.channels} numbers")
        return self
