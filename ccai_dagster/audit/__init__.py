"""What happened, and what depends on it: the trail of decisions, alternatives, reversals, provenance, answers.

Belongs here: reading finished tables and returning what is to be said, as data and sentences. Doesn't belong here:
computing scores, taking decisions, training or evaluating, which this room only reads; HTML and pictures (`pages`).
"""
