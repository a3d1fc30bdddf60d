"""Upstream: the choice of the engine host for a request, and the connections to it."""
