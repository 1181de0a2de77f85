"""The report_adapters stage: an adapter study in words, a table and curves."""
