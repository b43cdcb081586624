"""Statistics of the textbook, each with its source: arrays and numbers in and out, nothing of a consultation."""
