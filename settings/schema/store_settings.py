"""`store`: the store from which the engine fetches archives."""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from settings.schema.fields import Port, Seconds, SettingsGroup


class NginxStoreSettings(SettingsGroup):
    """The file browser, an nginx over a folder."""

    name: Literal["nginx"]
    host: str
    port: Port
    folder: str
    accept_put: bool = Field(False, description="true: programs on this machine may PUT new archives")
    put_key_file: str | None = Field(
        None, description="file of the key with which other machines may; null for no such key"
    )

    @property
    def url(self) -> str:
        """Base URL of the file browser."""
        return f"http://{self.host}:{self.port}"

    @property
    def allowed_urls(self) -> str:
        """TorchServe's pattern for the only URLs it may fetch; it must match a URL whole."""
        return rf"{re.escape(self.url)}/files/[A-Za-z0-9_.-]+\.mar"


class LocalStoreSettings(SettingsGroup):
    """TorchServe's model store folder."""

    name: Literal["local"]
    folder: str

    @property
    def allowed_urls(self) -> str:
        """A pattern that matches no URL, because archives are named by file."""
        return "(?!)"


class S3StoreSettings(SettingsGroup):
    """A bucket of an S3-compatible store."""

    name: Literal["s3"]
    endpoint: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$")]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: str
    credentials: str = Field(description="JSON file with access_key and secret_key; AWS_* variables win over it")
    presign_s: Annotated[int, Field(ge=1, le=604800)] = Field(description="life of a signed URL, at most a week")
    timeout_s: Seconds = Field(description="longest wait for data from the store")
    cache: str = Field(description="folder for local copies of archives")
    local_folder: str | None = Field(
        description="folder of the buckets of the stack's own server; null for another store"
    )

    @property
    def host(self) -> str:
        """Host of the endpoint."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def port(self) -> int:
        """Port of the endpoint."""
        parts = urlsplit(self.endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def allowed_urls(self) -> str:
        """TorchServe's pattern for the only URLs it may fetch: archives of this bucket, with their signature."""
        place = rf"{re.escape(self.endpoint)}/{re.escape(self.bucket)}"
        return rf"{place}/[A-Za-z0-9_.-]+\.mar\?[A-Za-z0-9%&=_.~-]+"


StoreSettings = Annotated[NginxStoreSettings | S3StoreSettings | LocalStoreSettings, Field(discriminator="name")]
