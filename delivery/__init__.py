"""The delivery of a built archive: store, engine hosts, trial, switch, and rollback.

rollout ─▶ publish ─▶ replacement ─▶ steps on each host: checks ─▶ trial ─▶ switch and watch ─▶ record, drain, remove
              │                        │ journal before each step; recover finishes or undoes a killed rollout
              ▼                        ▼
           stores/                   engines                         keeper, autoscaler: run beside it
"""
