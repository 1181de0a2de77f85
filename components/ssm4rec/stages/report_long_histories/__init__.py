"""The stage that writes the report of a long-history study."""
