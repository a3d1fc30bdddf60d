"""The local stack: TorchServe, file browser and gateway as background processes of this machine.

settings ──services──▶ Service (command, environment, ports, readiness) ──lifecycle──▶ started, watched, stopped
"""
