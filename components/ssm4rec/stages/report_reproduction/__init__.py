"""The stage that writes the report of a reproduction study."""
