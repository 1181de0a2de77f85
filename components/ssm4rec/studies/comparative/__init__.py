"""The comparative study."""
