"""The stage that measures how long suggestions take."""
