"""The local stack: TorchServe, file browser and gateway as background processes of this machine.

settings ──parts──▶ Part (command, environment, ports, readiness) ──processes──▶ running, found again, stopped
"""
