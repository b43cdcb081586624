"""Readers of evaluation sets, one module a public set: from its published files to items.

A reader says what a row is and how it is asked; which sets there are, and how many items of one are drawn,
belongs to `evaluation_sets`.
"""
