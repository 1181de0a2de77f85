"""Sources, filters, order, splits, and the dataset folder: everything before training. No torch in here."""
