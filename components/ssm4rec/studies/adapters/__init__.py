"""The adapter study."""
