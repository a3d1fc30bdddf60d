"""Scheduling: the time at which a request is sent to the engine."""
