"""The runners live in the peers' own environments: pytest must not import them to look for doctests."""

collect_ignore_glob = ["*.py"]
