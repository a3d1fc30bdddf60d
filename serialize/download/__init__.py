"""Fetches checkpoints by URL: resumed, checked, and put in place only when whole."""
