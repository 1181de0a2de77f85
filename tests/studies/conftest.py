"""What the tests of the studies share."""

from tests.report.trained import builder, builder_of

__all__ = ["builder", "builder_of"]
