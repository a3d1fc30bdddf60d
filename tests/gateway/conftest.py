"""One real TorchServe for the whole session, and a gateway in front of it."""

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.examples import PICTURE
from tests.gateway.browser import browser
from tests.gateway.engine import POLICY, VISION, Engine
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for


def register_all(engine: Engine) -> None:
    engine.add("digits", VISION)
    engine.add("digits", VISION, version="2.0")
    engine.add("cartpole", POLICY)
    engine.add("fragile", VISION)
    engine.add("idle", VISION, workers=0)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("engine"))
    try:
        engine.start()
        register_all(engine)
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def gateway(engine: Engine) -> Iterator[str]:
    with gateway_for(engine) as url:
        yield url


@pytest.fixture(scope="session")
def given() -> Iterator[GivenTorchServe]:
    """An engine in this process that answers and fails as a test wants."""
    made = GivenTorchServe()
    with made.running():
        yield made


@pytest.fixture(scope="session")
def front(given: GivenTorchServe) -> Iterator[str]:
    """A gateway before it."""
    with gateway_for(given) as url:
        yield url


@pytest.fixture(scope="session")
def no_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Ports on which nothing ever listened."""
    return Engine(tmp_path_factory.mktemp("no_engine"))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The names of all warnings and errors so far, those of tasks that were lost unread among them.

    What the session's gateways say of their engine in the meantime is no part of a test.
    """
    here = threading.current_thread()
    others = {(each.ident, each.name) for each in threading.enumerate() if each is not here}  # numbers come again

    def look() -> list[str]:
        gc.collect()  # what is lost unread is logged when it is freed, in whichever thread
        found = [record for record in caplog.records if record.levelno >= logging.WARNING]
        own = [each for each in found if each.name == "asyncio" or (each.thread, each.threadName) not in others]
        return [each.getMessage() for each in own]

    return look


@pytest.fixture(scope="session")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port at which a browser takes commands; its one tab shows what the test before it opened."""
    with browser(tmp_path_factory.mktemp("profile")) as port:
        yield port


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture that the engine has a label for, under a name that a shell would trip over."""
    file = tmp_path / "a digit's picture.png"
    file.write_bytes(PICTURE)
    return file
