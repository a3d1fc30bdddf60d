"""What the gateway costs and what it keeps up when more comes than it can do: `python -m bench.gateway`."""
