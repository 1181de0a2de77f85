"""State-space sequential recommenders, trained, evaluated and compared (arXiv 2408.05606)."""

__version__ = "0.1.0"
