"""Where archives come from: the file browser, or a bucket."""

from urllib.parse import urlsplit

from delivery.doctor import ask
from delivery.doctor.check import Check
from delivery.doctor.checks.files import others_read
from delivery.doctor.deployment import Deployment
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.doctor.sockets import reach
from settings.load import ROOT
from settings.schema import NginxStoreSettings, S3StoreSettings

# Waited for, written, there already, too large: all of them come after the question who may.
TAKEN = {None, 200, 201, 204, 409, 413}
FOLDER = not_checked("a folder; nothing serves it")


def _answers(deployment: Deployment) -> Seen:
    match deployment.settings.store:
        case NginxStoreSettings(url=url) | S3StoreSettings(endpoint=url):
            return closed(url) if ask.answers(url) else is_open(f"nothing answers at {url}")
        case _:
            return FOLDER


def _beyond(deployment: Deployment) -> Seen:
    match deployment.settings.store:
        case NginxStoreSettings() as store:
            listed = ask.plain("GET", f"{store.url}/files/").ok
            words = "other machines read every archive" + (", and a list of them" if listed else "")
            return reach(deployment.sockets, store.host, store.port, wide=is_open(words))
        case S3StoreSettings() as bucket:
            answer = ask.plain("GET", f"{bucket.endpoint}/{bucket.bucket}")
            return is_open("the bucket is listed without a key") if answer.ok else closed("refused without a key")
        case _:
            return FOLDER


def _writers(deployment: Deployment) -> Seen:
    match deployment.settings.store:
        case NginxStoreSettings(url=url):
            place = f"{url}/files/{ask.NOBODY}-0.mar"
        case S3StoreSettings(endpoint=endpoint, bucket=bucket):
            place = f"{endpoint}/{bucket}/{ask.NOBODY}-0.mar"
        case _:
            return FOLDER
    # Announced and never sent: where it is taken, nothing is written either.
    status = ask.announce("PUT", place)
    if status in TAKEN:
        return is_open("whoever reaches it may upload archives without a key")
    return closed(f"an upload without a key is refused (status {status})")


def _key(deployment: Deployment) -> Seen:
    match deployment.settings.store:
        case NginxStoreSettings(put_key_file=str(path)) | S3StoreSettings(credentials=path):
            return others_read(ROOT / path)
        case _:
            return closed("it has none")


def _plain(deployment: Deployment) -> Seen:
    match deployment.settings.store:
        case NginxStoreSettings(url=url) | S3StoreSettings(endpoint=url):
            parts = urlsplit(url)
            safe = parts.scheme == "https" or deployment.sockets.is_here(parts.hostname or "")
            return closed(url) if safe else warning(f"{url}: archives and keys travel in the clear")
        case _:
            return FOLDER


CHECKS = (
    Check("it answers", "make up", _answers, comes_first=True),
    Check("archives for everybody", "store.host=127.0.0.1, or a private network", _beyond),
    Check("uploads without a key", "store.accept_put=false, store.put_key_file; the policy of the bucket", _writers),
    Check("its key, read by others", "chmod 600 on store.put_key_file, store.credentials", _key),
    Check("archives in the clear", "store.endpoint=https://...", _plain),
)
