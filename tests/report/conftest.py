"""What the tests of the report share."""

from tests.report.trained import builder

__all__ = ["builder"]
