"""What delivery takes in: an archive signed by the right key, and unchanged since."""

import json
from pathlib import Path

import pytest

import settings
from archive import TrustPolicy, open_archive, open_trusted, write_zip
from archive.signing import generate_keys, signature_of
from delivery.publish import same_content
from delivery.stores.folder import FolderStore
from errors import ArchiveError
from tests.archive.made import CHECKSUMS, CONTENTS, checked

SAMPLE = {"content_type": "application/json", "body": "W10=", "predictions": [1]}
WHOLE = {**CONTENTS, "golden.json": json.dumps({"tolerance": 0.1, "samples": [SAMPLE]}).encode()}
SIGNATURE = "signature.ed25519"


def required(public: Path) -> TrustPolicy:
    return TrustPolicy.of(settings.load([f"signing.public_key={public}", "signing.required=true"]))


def test_open_trusted_accepts_right_signature_only(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path / "keys")
    stranger, _ = generate_keys(tmp_path / "stranger")
    files, path = checked(WHOLE), tmp_path / "toy.mar"

    write_zip(checked(WHOLE, private), path)
    assert open_trusted(path, required(public)).model_name == "toy"

    write_zip(files | {SIGNATURE: signature_of(files[CHECKSUMS], stranger)}, path)
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        open_trusted(path, required(public))

    write_zip(files, path)
    with pytest.raises(ArchiveError, match=r"is not signed, and signing\.required asks for it"):
        open_trusted(path, required(public))
    assert open_trusted(path, TrustPolicy.of(settings.load([f"signing.public_key={public}"]))).model_name == "toy"


def test_what_was_changed_after_signing_is_refused(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path / "keys")
    files, path = checked(WHOLE), tmp_path / "toy.mar"
    signed = files | {SIGNATURE: signature_of(files[CHECKSUMS], private)}

    write_zip(signed | {"model.onnx": b"other weights"}, path)
    with pytest.raises(ArchiveError, match=r"model\.onnx has sha256"):
        open_trusted(path, required(public))

    # With its checksum put right, the list is no longer the one that was signed.
    again = checked({**WHOLE, "model.onnx": b"other weights"})
    write_zip(again | {SIGNATURE: signed[SIGNATURE]}, path)
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        open_trusted(path, required(public))


def test_same_content_signed_by_other_key_differs(tmp_path: Path) -> None:
    files, built = checked(WHOLE), tmp_path / "toy.mar"
    first, second = (generate_keys(tmp_path / name)[0] for name in ("first", "second"))
    store = FolderStore(tmp_path / "store")
    write_zip(files | {SIGNATURE: signature_of(files[CHECKSUMS], first)}, built)
    store.put(built, "toy-1.0.mar")
    told = []
    for signature in ({SIGNATURE: signature_of(files[CHECKSUMS], key)} for key in (first, second)):
        write_zip(files | signature, built)
        told.append(same_content(open_archive(built), {}, "toy-1.0.mar", store))
    write_zip(files, built)
    told.append(same_content(open_archive(built), {}, "toy-1.0.mar", store))
    assert told == [True, False, True]
    assert same_content(open_archive(built), {}, "toy-1.1.mar", store) is False
