"""One TorchServe host, as the gateway works with it."""

from typing import TYPE_CHECKING

from engines.interface import Front
from engines.profiles import profile_of
from engines.torchserve.dialect import TorchServeDialect
from engines.torchserve.key_ring import KeyPlace, KeyRing
from engines.torchserve.reader import ManagementReader
from settings.load import ROOT
from settings.schema import Engine as EngineSettings
from settings.schema import Node

if TYPE_CHECKING:
    import aiohttp


class GatewayEngine:
    """The hosts of the settings, over the Inference and the Management API."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings

    def front(self, node: Node, session: "aiohttp.ClientSession") -> Front:
        """One host, over the gateway's session."""
        keys = KeyRing(self._key_place(node), session)
        return Front(TorchServeDialect(), keys, ManagementReader(node, session, keys))

    def _key_place(self, node: Node) -> KeyPlace:
        margin_s = min(60.0, self._settings.token_expiration_min * 60 / 5)
        file = None if node.key_file is None else ROOT / node.key_file
        renews = profile_of(self._settings.name).renews_keys
        return KeyPlace(file, node.management_url, margin_s, node.token, renews)
