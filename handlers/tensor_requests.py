"""The JSON of requests to a `tensors` model → records.

    {"inputs": {"INPUT0": [...], "INPUT1": [...]}}   tensors by name; the first axis counts instances in a batched model
    {"inputs": {"age": [41, 30], "job": [...]}}      columns by name
    {"instances": [{...}, {...}]}                    instances: tensors by name, or rows of named columns
    {"age": 41, "job": "nurse"}                      one instance

An instance that cannot be read is refused by itself where others can.
"""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import request_body
from handlers.batch import Instances
from handlers.errors import InvalidFields, RequestError, shortened
from handlers.outputs import NetworkOutput
from handlers.outputs.tensors import RAW, REFUSED
from handlers.signature import Column, Signature, TensorSpec
from handlers.tensor_records import numpy_type, records_of

Row = Mapping[str, NDArray[Any]]


def read(payload: Any, signature: Signature) -> Instances:
    """Return the instances of a request; raises InvalidFields, also where all of them are refused."""
    if not isinstance(payload, dict):
        raise InvalidFields(f"the body must be an object: inputs by name, or instances of {_listed(signature.names)}")
    if payload.keys() == {"instances"}:
        return _instances(request_body.instances(payload), signature)
    if payload.keys() != {"inputs"}:
        return _instances([payload], signature)
    named = payload["inputs"]
    if not isinstance(named, dict):
        raise InvalidFields("inputs must be an object of tensors by name")
    if signature.columns and _are_columns(named, signature):
        return _instances(_rows(named), signature)
    return Instances(_tensors(named, signature))


def _instances(items: list[Any], signature: Signature) -> Instances:
    """Read instances one by one; the network gets another one in the place of each that is refused."""
    found: list[Row] = []
    refused = np.full(len(items), None, object)
    for index, item in enumerate(items):
        try:
            found.append(_checked_text(_instance(item, signature), signature))
        except RequestError as error:
            refused[index] = error
    if not found:
        raise refused[0].within("instances[0]") if len(items) > 1 else refused[0]
    rows = iter(found)
    filled = [next(rows) if error is None else found[0] for error in refused]
    columns = {each.name: [row[each.name] for row in filled] for each in signature.inputs}
    records = records_of(signature.inputs, columns, len(items))
    return Instances(records, {} if len(found) == len(items) else {REFUSED: refused})


def _instance(item: Any, signature: Signature) -> Row:
    if not isinstance(item, dict):
        raise InvalidFields(f"an instance must be an object of {_listed(signature.names)}")
    _check_names(item, signature.names)
    if not signature.columns:
        return {each.name: _array(item[each.name], each, ()) for each in signature.inputs}
    return {each.name: _row(item, each) for each in signature.inputs}


def _tensors(named: Mapping[str, Any], signature: Signature) -> NDArray[Any]:
    """Read whole tensors, with the axis that counts instances in a batched model."""
    _check_names(named, [each.name for each in signature.inputs])
    count = (-1,) if signature.batched else ()
    found = _checked_text({each.name: _array(named[each.name], each, count) for each in signature.inputs}, signature)
    if not signature.batched:
        return records_of(signature.inputs, {name: [array] for name, array in found.items()}, 1)
    counts = {name: len(array) for name, array in found.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise InvalidFields(f"the inputs must hold equal numbers of instances: {counts}")
    return records_of(signature.inputs, found, next(iter(counts.values())))


def _checked_text(arrays: Row, signature: Signature) -> Row:
    """Return the arrays. Raises InvalidFields for an element of BYTES that is not UTF-8 where it must be."""
    for each in signature.inputs if signature.utf8 else ():
        try:
            for element in arrays[each.name].ravel().tolist() if each.is_text else ():
                element.decode()
        except UnicodeDecodeError:
            raise InvalidFields(f"{each.name}: an element is not UTF-8, and the graph reads text only") from None
    return arrays


def _are_columns(named: Mapping[str, Any], signature: Signature) -> bool:
    """Return true for lists of single values by column.

    A tensor may have the name of its only column. It has nested lists then, or the index of a category.
    """
    tensors = {each.name: each for each in signature.inputs}
    if named.keys() != tensors.keys():
        return not named.keys() <= tensors.keys()
    return all(_is_column(values, tensors[name]) for name, values in named.items())


def _is_column(values: Any, tensor: TensorSpec) -> bool:
    types = set(map(type, values)) if isinstance(values, list) else {list}
    return list not in types and (tensor.is_text or not tensor.columns[0].categories or str in types)


def _rows(named: Mapping[str, Any]) -> list[dict[str, Any]]:
    counts = {len(values) if isinstance(values, list) else 0 for values in named.values()}
    if len(counts) != 1 or counts == {0}:
        raise InvalidFields("the columns must be lists of equal length that are not empty")
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def _check_names(item: Mapping[str, Any], names: tuple[str, ...] | list[str]) -> None:
    if missing := set(names) - set(item):
        raise InvalidFields(f"missing: {shortened(missing)}; the names are {_listed(names)}")
    if unknown := set(item) - set(names):
        raise InvalidFields(f"unknown: {shortened(unknown)}; the names are {_listed(names)}")


def _row(row: Mapping[str, Any], tensor: TensorSpec) -> NDArray[Any]:
    """Return the values of a tensor's columns in their order, categories as the network takes them."""
    values = [_value(row[column.name], column, tensor) for column in tensor.columns]
    try:
        return _array(values if tensor.shape else values[0], tensor, ())
    except RequestError:
        for column, value in zip(tensor.columns, values, strict=True):
            _checked_value(column, value, tensor)
        raise


def _checked_value(column: Column, value: Any, tensor: TensorSpec) -> None:
    try:
        _typed([value], tensor)
    except RequestError as error:
        raise error.within(column.name) from None


def _value(value: Any, column: Column, tensor: TensorSpec) -> Any:
    if not column.categories:
        return value
    if value not in column.categories:
        raise InvalidFields(f"{column.name}: {str(value)[:40]!r} is none of {_listed(column.categories)}")
    return value if tensor.is_text else column.categories.index(value)


def _array(value: Any, tensor: TensorSpec, count: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of the tensor's datatype and shape, after the `count` of instances. Raises InvalidFields."""
    wanted = (*count, *tensor.shape)
    try:
        is_nested = isinstance(value, list) and len(wanted) > 0
        leaves, shape = request_body.unnested(value, len(wanted)) if is_nested else ([value], ())
        if not NetworkOutput(tensor.name, wanted).fits(shape):
            raise InvalidFields(f"must have shape {list(wanted)}, not {list(shape)}")
        array = _typed(leaves, tensor).reshape(shape)
    except RequestError as error:
        raise error.within(tensor.name) from None
    _check_bounds(array, tensor)
    return array


def _typed(leaves: list[Any], tensor: TensorSpec) -> NDArray[Any]:
    """Return elements in the tensor's own type, without a conversion that would change one, but for decimals."""
    target = numpy_type(tensor)
    if tensor.is_text:
        found = np.empty(len(leaves), object)
        found[:] = [_bytes(leaf) for leaf in leaves]
        return found
    if tensor.is_fractional:
        request_body.require_types(leaves, {int, float}, "a number")
    elif tensor.datatype == "BOOL":
        request_body.require_types(leaves, {bool}, "a boolean")
    else:
        request_body.require_types(leaves, {int}, "a whole number")
    try:
        with np.errstate(over="ignore"):  # too large for the type becomes infinite and is caught below
            array = np.array(leaves, np.float64).astype(target) if tensor.is_fractional else np.array(leaves, target)
    except OverflowError:
        raise InvalidFields(f"a number is outside of {tensor.datatype}") from None
    if tensor.is_fractional and not np.isfinite(array).all():
        raise InvalidFields(f"a number is not finite, or outside of {tensor.datatype}")
    return array


def _bytes(leaf: Any) -> bytes:
    try:
        if isinstance(leaf, str):
            return leaf.encode()
        if isinstance(leaf, dict) and leaf.keys() == {RAW} and isinstance(leaf[RAW], str):
            return base64.b64decode(leaf[RAW], validate=True)
    except ValueError:  # half of a surrogate pair, or binascii's own
        raise InvalidFields(f"text is not Unicode, or {RAW} is not base64") from None
    raise InvalidFields(f'an element must be text, or {{"{RAW}": base64}}')


def _check_bounds(values: NDArray[Any], tensor: TensorSpec) -> None:
    """Raise InvalidFields for the first number outside its bounds, by the name of its column."""
    if tensor.is_text:
        _check_categories(values, tensor)
    bounds = tensor.bounds()
    if bounds is None:
        return
    low, high = (np.array(bound, values.dtype if tensor.is_fractional else np.float64) for bound in bounds)
    fine = (values >= low) & (values <= high)
    if fine.all():
        return
    place = tuple(int(axis) for axis in np.argwhere(~fine)[0]) if values.ndim else ()
    at = place[-1] if tensor.columns and tensor.shape else 0
    column = tensor.columns[at] if tensor.columns else None
    unit = f" {column.unit}" if column and column.unit else ""
    name = column.name if column else f"{tensor.name}{list(place)}"
    raise InvalidFields(f"{name} is {values[place]:.6g}, outside of {low[at]:.6g} to {high[at]:.6g}{unit}")


def _check_categories(values: NDArray[Any], tensor: TensorSpec) -> None:
    for at, column in enumerate(tensor.columns):
        texts = values[..., at] if tensor.shape else values
        known = {category.encode() for category in column.categories}
        if known and (unknown := set(texts.ravel().tolist()) - known):
            shown = shortened({text.decode("utf-8", "replace") for text in unknown})
            raise InvalidFields(f"{column.name}: none of {_listed(column.categories)}: {shown}")


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
