"""The long-history study."""
