"""A `.pt2` file of a stranger runs nothing: not when it is built, and not when a worker loads it."""

import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from errors import BuildError
from handlers.runtimes.pytorch import exported_network
from serialize.graph_file import read_graph

Change = Callable[[dict[str, Any], str], None]
PROGRAM = "models/model.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Scaled(nn.Module):
    """A network whose sizes leave arithmetic, guards and names of its own in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            halves = nn.functional.avg_pool1d(x, 2, ceil_mode=True).amax(2)
        return {"y": self.layer(x.mean(2)) / x.shape[2], "halves": halves, "rows": torch.tensor(x.shape[0])}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path, auto = tmp_path / "scaled.pt2", torch.export.Dim.AUTO
    program = torch.export.export(Scaled().eval(), (torch.zeros(2, 4, 8),), dynamic_shapes=({0: auto, 2: auto},))
    assert program._guards_code
    torch.export.save(program, path)
    return path


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """The file that an attack creates; the module that does so on its import can be found."""
    path = tmp_path / "ran"
    (tmp_path / "stranger.py").write_text(f"open({str(path)!r}, 'w')")
    sys.path.insert(0, str(tmp_path))
    yield path
    sys.path.remove(str(tmp_path))
    sys.modules.pop("stranger", None)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Write the file again with its records changed."""
    with zipfile.ZipFile(path) as archive:
        root = archive.namelist()[0].partition("/")[0]
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            archive.writestr(f"{root}/{name}", data)
    return path


def with_program(change: Change) -> Callable[[dict[str, bytes], Path], None]:
    def changed(records: dict[str, bytes], marker: Path) -> None:
        program = json.loads(records[PROGRAM])
        change(program, f"open({str(marker)!r},'w')")
        records[PROGRAM] = json.dumps(program).encode()

    return changed


def first_size(program: dict[str, Any], text: str) -> None:
    values = program["graph_module"]["graph"]["sym_int_values"]
    next(iter(values.values()))["as_expr"]["expr_str"] = text


def expression(records: dict[str, bytes], marker: Path) -> None:
    with_program(first_size)(records, marker)


def expression_under_an_escaped_key(records: dict[str, bytes], marker: Path) -> None:
    expression(records, marker)
    records[PROGRAM] = records[PROGRAM].replace(b'"expr_str"', b'"\\u0065xpr_str"')


def expression_of_joined_texts(records: dict[str, bytes], marker: Path) -> None:
    del marker  # `import stranger` needs neither dots nor slashes
    letters = "+' 'chr' '".join(f"({ord(letter)})" for letter in "stranger")
    with_program(lambda program, _: first_size(program, f"S('_' '_import_' '_' '(' 'chr' '{letters})')"))(
        records, Path()
    )


def expression_in_another_record(records: dict[str, bytes], marker: Path) -> None:
    expression(records, marker)
    records["models/model.jsom"] = records.pop(PROGRAM)


def guard(records: dict[str, bytes], marker: Path) -> None:
    with_program(lambda program, code: program.update(guards_code=[f"{code} is not None"]))(records, marker)


def call_first(program: dict[str, Any], target: str, inputs: dict[str, Any]) -> None:
    graph = program["graph_module"]["graph"]
    graph["tensor_values"]["read"] = graph["tensor_values"]["x"]
    arguments = [{"name": name, "arg": argument, "kind": 1} for name, argument in inputs.items()]
    node = {"target": target, "inputs": arguments, "outputs": [{"as_tensor": {"name": "read"}}], "name": "read"}
    graph["nodes"].insert(0, graph["nodes"][0] | node)


def operator_on_files(records: dict[str, bytes], marker: Path) -> None:
    given = {"filename": {"as_string": str(marker)}, "shared": {"as_bool": True}, "size": {"as_int": 4}}
    with_program(lambda program, _: call_first(program, "torch.ops.aten.from_file.default", given))(records, marker)


def name(records: dict[str, bytes], marker: Path) -> None:
    text = json.dumps(f"x=open({str(marker)!r},'w')").encode()
    records[PROGRAM] = records[PROGRAM].replace(b'"x"', text)


def parameter(records: dict[str, bytes], marker: Path) -> None:
    text = json.dumps(f'layer.weight", open({str(marker)!r},"w"), "').encode()
    for record in (PROGRAM, "data/weights/model_weights_config.json"):
        records[record] = records[record].replace(b'"layer.weight"', text)


def enum(records: dict[str, bytes], marker: Path) -> None:
    def change(program: dict[str, Any], code: str) -> None:
        del code
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        protocol, tree = json.loads(signature["out_spec"])
        tree["context"] = json.dumps({"__enum__": True, "fqn": "stranger:Any", "name": "any"})
        signature["out_spec"] = json.dumps([protocol, tree])

    with_program(change)(records, marker)


class Opens:
    """An object that opens a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def pickled_object(records: dict[str, bytes], marker: Path) -> None:
    meta = {"path_name": "opaque_obj_/0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    records[CONSTANTS] = json.dumps({"config": {"c": meta}}).encode()
    records["data/constants/opaque_obj_/0"] = pickle.dumps(Opens(marker))


def compiled_library(records: dict[str, bytes], marker: Path) -> None:
    del marker
    records["data/aotinductor/model/model.so"] = b"\x7fELF"


ATTACKS = (
    expression,
    expression_under_an_escaped_key,
    expression_of_joined_texts,
    expression_in_another_record,
    guard,
    operator_on_files,
    name,
    parameter,
    enum,
    pickled_object,
    compiled_library,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_exported_file_that_would_run_code_is_refused(
    exported: Path, marker: Path, attack: Callable[[dict[str, bytes], Path], None]
) -> None:
    rewritten(exported, lambda records: attack(records, marker))
    with pytest.raises(BuildError, match=r"could run code|holds the compiled library"):
        read_graph(exported, "pt2")
    assert not marker.exists()


def test_worker_runs_no_guards_of_an_exported_file(exported: Path, marker: Path) -> None:
    rewritten(exported, lambda records: guard(records, marker))
    exported_network(exported)(torch.zeros(3, 4, 10))
    assert not marker.exists()


def test_exported_file_of_any_sizes_answers_as_its_network(exported: Path) -> None:
    network, x = read_graph(exported, "pt2"), torch.rand(3, 4, 10)
    expected = torch.export.load(exported).module()(x)
    for name, found in network(x).items():
        torch.testing.assert_close(found, expected[name])
