"""The console's forms for `tensors` models, in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.gateway.browser import IN_BROWSER
from tests.gateway.console_page import ANSWERED, TEXTS, console, text
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

pytestmark = IN_BROWSER

AGE = {"name": "age", "unit": "years", "low": 0, "high": 120}
OUTPUTS = [{"name": "risk", "datatype": "FP32", "shape": [2]}, {"name": "word", "datatype": "BYTES", "shape": []}]
TABLE = {
    "kind": "tensors",
    "description": "A table",
    "weights": "trained",
    "signature": {
        "batched": True,
        "inputs": [
            {
                "name": "row",
                "datatype": "FP32",
                "shape": [2],
                "columns": [AGE, {"name": "job", "categories": ["nurse", "pilot"]}],
            }
        ],
        "outputs": OUTPUTS,
    },
    "echo": {"outputs": {"risk": [0.25, -0.5], "word": "high"}},
}
PLAIN = TABLE | {
    "signature": {
        "batched": True,
        "inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [2]}],
        "outputs": OUTPUTS,
    }
}


@contextmanager
def serving(engine: Engine, card: dict[str, Any]) -> Iterator[str]:
    with engine.serving("table", card), gateway_for(engine) as gateway:
        yield gateway


async def test_a_table_has_a_field_for_each_column(engine: Engine, devtools: int) -> None:
    with serving(engine, TABLE) as gateway:
        async with console(devtools, gateway, "table") as page:
            rows = "[...document.querySelectorAll('.slider')].map(row => row.innerText.replaceAll('\\n', ' '))"
            age, job = await page.evaluate(rows)
            assert age.startswith("age")
            assert age.endswith("years, 0 … 120")
            assert job.startswith("job")
            await page.evaluate("document.getElementById('column-0').value = 41")
            await page.evaluate("document.getElementById('column-1').value = 'pilot'")
            await page.evaluate("document.querySelector('#input button').click()")
            await page.wait(ANSWERED)
            assert '{"age":41,"job":"pilot"}' in await page.evaluate("document.getElementById('curl').textContent")
            assert await page.evaluate(TEXTS) == ["risk[0] 0.25", "risk[1] -0.5"]
            assert await text(page, "verdict") == 'risk 0.25, -0.5 · word "high"'
            assert page.errors == []


async def test_other_tensors_are_typed_as_json_from_an_example(engine: Engine, devtools: int) -> None:
    with serving(engine, PLAIN) as gateway:
        async with console(devtools, gateway, "table") as page:
            assert (await page.evaluate("document.getElementById('json').value")).startswith('{"INPUT0":[')
            await page.evaluate("document.querySelector('#input button').click()")
            await page.wait(ANSWERED)
            assert page.errors == []
