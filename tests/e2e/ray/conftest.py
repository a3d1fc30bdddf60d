"""Without Ray, which is optional, there is nothing to collect here."""

import importlib.util

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("ray") is None else []
