"""The folder of a consultation: what it says, its settings, and what may be wrong with it."""
