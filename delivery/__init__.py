"""The path of a built archive into service: store, engine hosts, trial, switch, and back.

rollout ─▶ publish ─▶ replacement ─▶ steps on each host: checks ─▶ trial ─▶ switch and watch ─▶ record, drain, remove
              │                        │ journal before each step; recover finishes or undoes a killed rollout
              ▼                        ▼
           stores/                   engines                         keeper, autoscaler: run beside it
"""
