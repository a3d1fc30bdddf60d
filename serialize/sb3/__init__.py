"""Stable-Baselines3 checkpoints, read without unpickling anything.

    policy.zip ──read──▶ JSON settings + tensors ──spaces──▶ spaces ──algorithms──▶ Actor
    policy.pth ──read──▶ tensors only, the settings at the library's defaults  ─▶ Actor

Each module named after a kind of network reads one; a new one is one file and one entry in algorithms.
"""

from serialize.sb3.actor import Actor
from serialize.sb3.algorithms import read_actor

__all__ = ["Actor", "read_actor"]
