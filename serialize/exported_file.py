"""Checks a `.pt2` of torch.export for what would run as code when torch loads it; torch's loader checks nothing.

    FILE ──each record as torch reads it──▶ every string, by its field ──▶ BuildError, or safe to load

    field                torch                                       accepted
    target, as_operator  looks it up in `torch`, and calls it        operators that only compute
    expr_str             evaluates it with sympy                     arithmetic
    guards_code          runs it with the first inputs               arithmetic with sizes of the inputs
    in_spec, out_spec    imports the modules that they name          tuples, lists and dicts
    path_name            unpickles it, if its name begins so         files of tensors
    any other            writes it into the source of `forward`      names

A record below `data/aotinductor/` is a compiled library, which torch loads.
"""

import ast
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export.pt2_archive.constants import AOTINDUCTOR_DIR, MODELS_DIR
from torch.utils._sympy import functions

from errors import BuildError

_NAME = re.compile(r"[\w.+/:-]*")
_TENSORS = re.compile(r"(weight|tensor)_\d+")
_FREE = ("as_string", "as_strings", "stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node",
         "custom")  # fmt: skip
"""Fields of any text: arguments of operators, which torch quotes, and notes on the source."""
_OVERLOAD = re.compile(r"torch\.ops\.(aten|prims|torchvision)\.(\w+)\.(\w+)")
_CONTROL = {
    f"torch.ops.higher_order.{name}"
    for name in ("associative_scan", "cond", "invoke_subgraph", "map_impl", "scan", "while_loop",
                 "wrap_with_autocast", "wrap_with_set_grad_enabled")
}  # fmt: skip
_OF_SIZES = {
    *(f"_operator.{name}" for name in ("add", "and_", "eq", "floordiv", "ge", "gt", "le", "lshift", "lt", "mod", "mul",
                                       "ne", "neg", "or_", "pos", "pow", "rshift", "sub", "truediv")),
    *(f"torch.{name}" for name in ("_sym_sqrt", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min", "sym_not")),
    "math.trunc",
}  # fmt: skip
_TREES = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
_FUNCTIONS = {
    *functions.__all__,
    *("Abs", "Add", "And", "Eq", "Equality", "ExprCondPair", "Float", "GreaterThan", "Integer", "LessThan", "Max",
      "Min", "Mul", "Ne", "Not", "Or", "Piecewise", "Pow", "Rational", "StrictGreaterThan", "StrictLessThan", "Symbol",
      "Tuple", "Unequality"),
    *("abs", "ceil", "float", "floor", "int", "max", "min", "round", "sqrt", "sym_float", "sym_int", "trunc"),
}  # fmt: skip
_ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.keyword, ast.Tuple,
               ast.Name, ast.Constant, ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)  # fmt: skip
_SIZE = re.compile(r"\bL(\['\w+'\]|\[\d+\])+(\.(size|stride)\(\)\[\d+\]|\.storage_offset\(\))?")
_MODULE = re.compile(r"\b(math|torch)\.(?=[a-z])")


def check_exported(path: Path) -> None:
    """Raise BuildError for a program of torch.export that could run more than operators on tensors."""
    for name, data in _records(path):
        for field, text in _strings(json.loads(data.decode())):
            if not _is_safe(field, text):
                raise BuildError(
                    f"{path}: {name}: {text[:80]!r} as {field} could run code; write the file with torch.export.save, "
                    "from a network of tensors and torch's own operators alone"
                )


def _records(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the descriptions in the file, as torch's own reader sees them; older files are plain archives."""
    with zipfile.ZipFile(path) as archive:
        for name in set(archive.namelist()) & {"serialized_exported_program.json"}:
            yield name, archive.read(name)
    try:
        reader = torch._C.PyTorchFileReader(str(path))
    except RuntimeError:
        return  # torch.export.load then reads the older form
    for name in reader.get_all_records():
        if name.startswith(AOTINDUCTOR_DIR):
            raise BuildError(f"{path}: holds the compiled library {name}; export the network without it")
        if name.startswith(MODELS_DIR) or name.endswith("_config.json"):
            yield name, reader.get_record(name)


def _strings(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield each string in JSON with its field; a key of an object is a name."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, field)
    elif isinstance(value, dict):
        for key, each in value.items():
            if field != "range_constraints":  # sizes, which torch compares with those that it knows
                yield "name", key
            yield from _strings(each, key)


def _is_safe(field: str, text: str) -> bool:
    match field:
        case "target" | "as_operator":
            return text in _CONTROL | _OF_SIZES or _is_operator(text)
        case "expr_str":
            return _is_arithmetic(text)
        case "guards_code":
            return _is_arithmetic(_MODULE.sub("", _SIZE.sub("size", text)))
        case "in_spec" | "out_spec":
            return not text or _is_plain(json.loads(text)[1])
        case "path_name":
            return _TENSORS.fullmatch(text) is not None
        case _:
            return field in _FREE or _NAME.fullmatch(text) is not None


def _is_operator(target: str) -> bool:
    """Return True for an operator of torch that neither reads nor writes files."""
    if (named := _OVERLOAD.fullmatch(target)) is None:
        return False
    found: Any = torch.ops
    for name in named.groups():
        found = getattr(found, name, None)
    return isinstance(found, torch._ops.OpOverload) and all(each.name != "filename" for each in found._schema.arguments)


def _is_arithmetic(text: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except SyntaxError:
        return False
    called = [each.func for each in nodes if isinstance(each, ast.Call)]
    constants = [each.value for each in nodes if isinstance(each, ast.Constant)]
    return (
        all(isinstance(each, _ARITHMETIC) for each in nodes)
        and all(isinstance(each, ast.Name) and each.id in _FUNCTIONS for each in called)
        and all(isinstance(each, int | float | str) and _NAME.fullmatch(str(each)) for each in constants)
    )


def _is_plain(tree: Any) -> bool:
    """Return True for a tree of tuples, lists and dicts; the context of a dict is its keys."""
    keys = json.loads(tree["context"] or "null") or []
    return (
        tree["type"] in _TREES
        and isinstance(keys, list)
        and all(isinstance(each, str | int) and _NAME.fullmatch(str(each)) for each in keys)
        and all(map(_is_plain, tree["children_spec"]))
    )
