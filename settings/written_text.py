"""Text settings as they were written: `version=2.0`, `labels: [no, 1.10]` and `description: 007` stay text.

    override ──Hydra's grammar──┐
                                ├──▶ values that keep their text ──settle, by the schema──▶ number, or the text
    config/*.yaml ──YAML────────┘

Hydra and YAML turn whatever looks like a number or a yes or no into one. Where the schema takes only text, the text
counts; where it takes a number, the number does.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser, create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString, ValueType
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import (  # type: ignore[attr-defined]
    CommonTokenStream,
    InputStream,
    OverrideLexer,
)
from hydra.grammar.gen.OverrideParser import OverrideParser
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf._utils import get_yaml_loader

from settings.schema import Settings

Node = Mapping[str, Any]
"""A node of the JSON schema."""


@dataclass(frozen=True)
class Written:
    """A number, true or false, and the text that it was written as."""

    value: bool | int | float
    text: str


def settle(tree: Any, expected: Sequence[Node]) -> Any:
    """Return `tree` with each Written value as its text where the schema takes only text, else as its value.

    Keys of groups are always text. `expected` are the schema's nodes for the place of `tree`.
    """
    match tree:
        case dict():
            return {_key(key): settle(item, list(_below(expected, _key(key)))) for key, item in tree.items()}
        case list():
            return [settle(item, list(_below(expected, place))) for place, item in enumerate(tree)]
        case Written():
            types = {found["type"] for found in _variants(expected) if "type" in found}
            return tree.text if "string" in types and not types & _json_types(tree.value) else tree.value
    return tree


def schema_of(path: Sequence[str]) -> list[Node]:
    """Return the schema's nodes for a setting, e.g. `["served_model", "version"]`; several for a union."""
    found: list[Node] = [_schema()]
    for part in path:
        found = list(_below(found, part))
    return found


@cache
def _schema() -> Node:
    return Settings.model_json_schema()


def _variants(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield the nodes with references and unions resolved."""
    for node in nodes:
        if "$ref" in node:
            yield from _variants([_schema()["$defs"][node["$ref"].rpartition("/")[2]]])
        elif union := [*node.get("anyOf", ()), *node.get("oneOf", ())]:
            yield from _variants(union)
        else:
            yield node


def _below(nodes: Sequence[Node], part: str | int) -> Iterator[Node]:
    for node in _variants(nodes):
        if isinstance(part, int):
            firsts = node.get("prefixItems", [])
            child = firsts[part] if part < len(firsts) else node.get("items")
        else:
            child = node.get("properties", {}).get(part, node.get("additionalProperties"))
        if isinstance(child, dict):
            yield child


def _json_types(value: bool | int | float) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    # A number where an integer is expected is an error about the number, not a text.
    return {"number", "integer"}


def _key(key: Any) -> Any:
    return key.text if isinstance(key, Written) else key


def keep_text(override: str) -> str:
    """Return a Hydra override with quotes around whatever is text by the schema; unreadable ones as they are."""
    try:
        parsed = _parsed(override)
    except HydraException:
        return override  # Hydra will say why
    if parsed.value_type is not ValueType.ELEMENT:
        return override
    tree = parsed.value()
    settled = settle(tree, schema_of(parsed.key_or_group.split(".")))
    if settled == settle(tree, []):
        return override
    return f"{parsed.get_key_element()}={_rendered(settled)}"


def _parsed(override: str) -> Override:
    """Parse an override as Hydra does. Raises HydraException."""
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(override))
    parser = OverrideParser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(listener)
    return _WrittenVisitor(create_functions()).visitOverride(parser.override())  # type: ignore[no-untyped-call]


class _WrittenVisitor(HydraOverrideVisitor):
    """Hydra's reading of an override, with the text of each number, true and false."""

    def _createPrimitive(self, ctx: Any) -> Any:  # noqa: N802 - Hydra's name
        found = super()._createPrimitive(ctx)
        return Written(found, ctx.getText().strip()) if isinstance(found, (bool, int, float)) else found

    def visitFunction(self, ctx: Any) -> Any:  # noqa: N802 - ANTLR's name
        return HydraOverrideVisitor(self.functions).visitFunction(ctx)


def _rendered(tree: Any) -> str:
    """Return a value in Hydra's grammar, with every text in quotes."""
    return str(Override._get_value_element_as_str(_quoted(tree)))


def _quoted(tree: Any) -> Any:
    match tree:
        case dict():
            return {key: _quoted(item) for key, item in tree.items()}  # the grammar has no quotes around keys
        case list():
            return [_quoted(item) for item in tree]
        case str():
            return QuotedString(tree, Quote.single)
    return tree


class WrittenConfig(FileConfigSource):
    """Hydra's source of configuration files, which keeps their text settings as text."""

    @staticmethod
    def scheme() -> str:
        """Return the name under which Hydra finds this source."""
        return "written"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read one file; its group's name, or its `@package` line, says which part of the schema it fills."""
        file = Path(self.path) / self._normalize_file_name(config_path)
        with file.open(encoding="utf-8") as stream:
            header = ConfigSource._get_header_dict(stream.read(512))
            stream.seek(0)
            tree = yaml.load(stream, Loader=_loader())  # noqa: S506 - a safe loader
        package = header["package"] or config_path.rpartition("/")[0].replace("/", ".")
        inside = [] if package == "_global_" else [part for part in package.split(".") if part]
        if not isinstance(tree, dict):
            return super().load_config(config_path)  # an empty file, or an error
        config = OmegaConf.create(settle(tree, schema_of(inside)))
        return ConfigResult(config=config, path=f"{self.scheme()}://{self.path}", provider=self.provider, header=header)


@cache
def _loader() -> Any:
    """Return OmegaConf's YAML loader, with numbers, yes and no as Written."""
    loader = get_yaml_loader()
    for kind in ("bool", "int", "float"):
        tag = f"tag:yaml.org,2002:{kind}"
        construct = loader.yaml_constructors[tag]
        loader.add_constructor(
            tag, lambda self, node, construct=construct: Written(construct(self, node), str(node.value))
        )
    return loader


def compose(folder: Path, overrides: Sequence[str]) -> DictConfig:
    """Compose `folder/config.yaml` with Hydra under the overrides. Raises HydraException and OmegaConfBaseException.

    Whoever asks for each model's settings composes the same files again, so the result for a choice of files is kept
    for as long as the files and the environment are the same. Hydra sets single values after it has composed the files,
    and so does this.
    """
    kept = tuple(keep_text(each) for each in overrides)
    parsed = OverridesParser.create().parse_overrides(list(kept))
    values = [each for each in parsed if _sets_value(each)]
    if not all(_sets_value(each) or _chooses_file(each) for each in parsed):
        return _composed(folder, kept)
    choices = tuple(str(each.input_line) for each in parsed if not _sets_value(each))
    content = _content(folder)
    composed = deepcopy(_kept(folder, choices, content, _environment(choices, content)))
    ConfigLoaderImpl._apply_overrides_to_config(values, composed)
    return composed


def _sets_value(override: Override) -> bool:
    return override.is_force_add() and "." in override.key_or_group and not override.is_sweep_override()


def _chooses_file(override: Override) -> bool:
    return override.type is OverrideType.CHANGE and isinstance(override.value(), str)


Content = tuple[tuple[Path, bytes], ...]
"""Every file of a configuration with its content."""


def _content(folder: Path) -> Content:
    return tuple((path, path.read_bytes()) for path in sorted(folder.rglob("*.yaml")) if path.is_file())


def _environment(choices: Sequence[str], content: Content) -> frozenset[tuple[str, str]]:
    """Return the variables that the files or the choices may refer to: those whose names they contain."""
    texts = b"\n".join((*map(os.fsencode, choices), *(each for _, each in content)))
    return frozenset((name, value) for name, value in os.environ.items() if os.fsencode(name) in texts)


@lru_cache(maxsize=64)
def _kept(
    folder: Path, choices: tuple[str, ...], content: Content, environment: frozenset[tuple[str, str]]
) -> DictConfig:
    """Return the composition for this content of the files and the environment; the caller must not change it."""
    return _composed(folder, choices)


def _composed(folder: Path, overrides: Sequence[str]) -> DictConfig:
    Plugins.instance().register(WrittenConfig)
    version.setbase("1.3")
    loader = ConfigLoaderImpl(create_config_search_path(f"{WrittenConfig.scheme()}://{folder}"))
    composed = loader.load_configuration("config", list(overrides), RunMode.RUN, from_shell=False)
    with open_dict(composed):
        del composed["hydra"]
    return composed
