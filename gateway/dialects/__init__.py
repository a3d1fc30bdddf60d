"""Dialects: the paths, request forms and response forms of each kind of client."""
