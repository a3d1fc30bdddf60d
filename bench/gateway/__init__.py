"""The gateway beside TorchServe alone, under overload, and its own code beside libraries: `python -m bench.gateway`."""
