"""The studies' parameters on a command line or in a file, the same for ``make run`` and ``make submit``."""
