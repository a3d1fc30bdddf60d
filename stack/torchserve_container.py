"""`python -m stack.torchserve_container IMAGE [--gpus] [overrides]`: TorchServe in its container on the host's network.

It takes the place of `stack run torchserve`, with the same ports, keys and folders: file browser, gateway and delivery
of this machine find it as they find the local one.
"""

import sys
from collections.abc import Sequence

import commands
import settings
from errors import StackError
from settings.schema import TorchServeSettings
from stack import docker_run, torchserve
from stack.folders import Folders
from stack.local_services import check_ports, torchserve_service

USAGE = """\
usage: python -m stack.torchserve_container IMAGE [--gpus] [hydra overrides]

  run TorchServe's image in the foreground in place of `make run_ts`; --gpus gives it every GPU
"""
HOME = "/var/lib/torchserve"
TEMPORARY = "/tmp"  # noqa: S108  # inside the container


def container_command(image: str, gpus: bool, loaded: settings.Settings) -> tuple[str, ...]:
    """Return the `docker run` of TorchServe with these settings; its folders exist already. Raises StackError."""
    folders = Folders.of(loaded)
    given = torchserve.environment(loaded, folders)
    # The image has the paths; the rest are addresses, limits and tracing.
    env = {name: value for name, value in given.items() if name.startswith(("TS_", "OTEL_"))}
    del env["TS_METRICS_CONFIG"]
    return docker_run.command(
        image,
        "build_ts_cuda" if gpus else "build_ts_cpu",
        "--network=host",
        *(["--gpus=all"] if gpus else []),
        f"--tmpfs={TEMPORARY}:exec",
        docker_run.mounted(folders.torchserve, HOME),
        docker_run.mounted(folders.model_store, f"{TEMPORARY}/model_store"),
        # Delivery compares what TorchServe unpacks with the checked archive.
        docker_run.mounted(folders.unpacked, f"{TEMPORARY}/models"),
        env=env,
    )


def main(arguments: Sequence[str]) -> int:
    """Become the container until it ends or Ctrl-C; return the exit status of a wrong call."""
    gpus = "--gpus" in arguments
    given = [word for word in arguments if word != "--gpus"]
    if not given:
        sys.stderr.write(USAGE)
        return 2
    image, *overrides = given
    loaded = settings.load(overrides)
    if not isinstance(loaded.engine, TorchServeSettings):
        raise StackError(f"engine={loaded.engine.name}: this is the container of engine=torchserve")
    folders = Folders.of(loaded)
    check_ports(torchserve_service(loaded, loaded.engine, folders))
    torchserve.prepare_folders(folders)
    command = container_command(image, gpus, loaded)
    sys.stdout.write(f"torchserve on {loaded.engine.inference_url}/ (Ctrl-C ends it)\n")
    return docker_run.become(command)


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
