"""Settings: composed by Hydra from `config/`, checked against `settings.schema`, returned as frozen objects."""

from settings.load import load, load_each, models
from settings.schema import Settings

__all__ = ["Settings", "load", "load_each", "models"]
