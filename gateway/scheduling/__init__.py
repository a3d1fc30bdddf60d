"""Scheduling: when a request goes to the engine."""
