"""Finds the registration settings that serve a latency goal best.

goal, space ──▶ search: which setting next ──▶ trials: upload_model.py, then rounds of load ──▶ journal ──▶ search ...
                                    └──▶ finalists again, in turn ──▶ chosen ──▶ NAME.tuned.yaml, page, last upload

Every setting comes to serve through the rollout, as an upload by hand would bring it, so no client loses a request.
The search is a function of the journal: killed at any moment, it goes on from there.
"""
