"""The first process of TorchServe, in its container and in local runs: `python -m engines.torchserve.process`.

__main__    ──▶ java: TorchServe's launcher starts Java; this process reaps it and everything that it leaves
  SIGTERM   ──▶ ending: new requests are refused, those under way are answered ──▶ Java ends
watches     memory kills, lost addresses, keys, room for archives ──▶ log, room.json
local_api   requests to the TorchServe of this machine

container_metrics   a program that TorchServe starts: memory and disk of this container, for its metrics port
ready               the health check of the container

The image holds these files, the modules that they import, and nothing else of the project. All of them need only the
standard library.
"""
