"""The stage that writes the report of an optimizer study."""
