"""Keeps pytest from importing the benchmarks: they are run by hand and import what lies beside them."""

collect_ignore_glob = ["*.py", "peers/*.py"]
