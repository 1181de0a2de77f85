"""The alignment study."""
