"""The reproduction study."""
