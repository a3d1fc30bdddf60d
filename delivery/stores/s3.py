"""A bucket of an S3-compatible store; the engine gets a signed URL of limited life."""

import hashlib
import logging
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ReadTimeoutError
from urllib3.exceptions import HTTPError

from delivery.stores.store import check_name, versions_in
from delivery.stores.store_keys import read_s3_credentials
from errors import DiskError, StoreError
from files import explained, remove_durably, replace_durably, staging_folder
from settings.schema import S3StoreSettings

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
ABSENT = frozenset({"404", "NoSuchKey", "NotFound"})


class S3Bucket:
    """Archives in one bucket. The metadata of each holds its sha256, so that a copy can be verified."""

    def __init__(self, store: S3StoreSettings) -> None:
        self._store = store
        self._cache = Path(store.cache)
        self._spare: Path | None = None
        keys = read_s3_credentials(Path(store.credentials))
        self._client: Any = Session().client(  # the default session is not for threads
            "s3",
            endpoint_url=store.endpoint,
            region_name=store.region,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=min(5, store.timeout_s),
                read_timeout=store.timeout_s,
                retries={"total_max_attempts": 2, "mode": "standard"},
                # Not every compatible store reads the newer checksums in trailers; the sha256 is verified below.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def put(self, source: Path, name: str) -> None:
        """Upload a file, read it back and compare."""
        check_name(name)
        with explained(source), source.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with self._explained(name):
            self._client.upload_file(str(source), self._store.bucket, name, ExtraArgs={"Metadata": {"sha256": sha256}})
            stored = self._read_back(name)
        if stored != sha256:
            self.remove(name)
            raise StoreError(f"{self._address(name)} has sha256 {stored} after the upload instead of {sha256}; removed")

    def url(self, name: str) -> str:
        """Return an address that fetches `name` without credentials for `presign_s` seconds."""
        target = {"Bucket": self._store.bucket, "Key": name}
        return str(self._client.generate_presigned_url("get_object", Params=target, ExpiresIn=self._store.presign_s))

    def path(self, name: str) -> Path | None:
        """Return a local copy of the archive, fetched when it is missing or outdated."""
        with self._explained(name):
            try:
                head = self._client.head_object(Bucket=self._store.bucket, Key=name)
            except ClientError as error:
                if error.response["Error"]["Code"] in ABSENT:
                    return None
                raise
            copy = self._cache / name
            if not _holds(copy, head["Metadata"].get("sha256")):
                copy = self._fetch(name, head["ContentLength"])
        return copy

    def remove(self, name: str) -> None:
        """Delete the object and the copy."""
        with self._explained(name):
            self._client.delete_object(Bucket=self._store.bucket, Key=name)
        remove_durably(self._cache / name)

    def versions(self, model: str) -> set[str]:
        """Return the versions of a model that the bucket lists."""
        with self._explained(f"{model}-*.mar"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._store.bucket, Prefix=f"{model}-"
            )
            return versions_in([each["Key"] for page in pages for each in page.get("Contents", ())], model)

    def _fetch(self, name: str, size: int) -> Path:
        """Fetch a copy into the cache; where that cannot be written, into a folder that this process removes."""
        try:
            return self._fetch_into(self._cache, name, size)
        except DiskError as error:
            try:
                copy = self._fetch_into(self._temporary(), name, size)
            except (DiskError, OSError):
                raise error from None
            log.warning("%s; the copy is %s for now", str(error), copy)
            return copy

    def _temporary(self) -> Path:
        """Return a folder that is removed with this object."""
        if self._spare is None:
            self._spare = Path(tempfile.mkdtemp(prefix="marina-archives-"))
            weakref.finalize(self, shutil.rmtree, self._spare, ignore_errors=True)
        return self._spare

    def _fetch_into(self, folder: Path, name: str, size: int) -> Path:
        with explained(folder / name, size), staging_folder(folder, name) as work:
            draft = work / name
            with draft.open("wb") as file:
                for chunk in self._chunks(name):
                    file.write(chunk)
            replace_durably(draft, folder / name)
        return folder / name

    def _read_back(self, name: str) -> str:
        """Return the sha256 of the stored object; remove an object that cannot be read back."""
        try:
            return self._digest(name)
        except StoreError:
            with suppress(BotoCoreError, ClientError, HTTPError):
                self._client.delete_object(Bucket=self._store.bucket, Key=name)
            raise

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def _chunks(self, name: str) -> Iterator[bytes]:
        with self._explained(name):
            yield from self._client.get_object(Bucket=self._store.bucket, Key=name)["Body"].iter_chunks(CHUNK)

    def _address(self, name: str) -> str:
        return f"{self._store.endpoint}/{self._store.bucket}/{name}"

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn errors of the client library into one line without credentials."""
        try:
            yield
        except ReadTimeoutError:
            raise StoreError(
                f"{self._address(name)}: the store did not answer in {self._store.timeout_s:g} s"
            ) from None
        except (BotoCoreError, ClientError, Boto3Error, HTTPClientError, HTTPError) as error:
            raise StoreError(f"{self._address(name)}: {_reason(error)}") from None
        except OSError as error:
            raise StoreError(f"{self._address(name)}: {error.strerror or error}") from None


def _reason(error: Exception) -> str:
    # The library wraps a failed upload in its own text; the store's answer is the context.
    cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
    if isinstance(cause, ClientError):
        answer = cause.response["Error"]
        return f"the store says {answer.get('Message') or answer.get('Code')}"
    return " ".join(str(cause).split())


def _holds(copy: Path, sha256: str | None) -> bool:
    if sha256 is None or not copy.is_file():
        return False
    with copy.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
