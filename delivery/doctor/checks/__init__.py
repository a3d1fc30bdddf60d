"""The checks, one file a part; each ends with its list."""
