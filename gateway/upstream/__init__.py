"""Upstream: which engine host answers a request, and the connections to it."""
