"""One folder per container: component.py is what KFP sees, __main__.py what the container runs."""
