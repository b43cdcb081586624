"""What happened, told and checked: the trail of decisions, what hangs on them, the report, the provenance.

Belongs here: reading finished tables and telling them to people and machines. Doesn't belong here: computing
scores, taking decisions, training or evaluating; this room only reads.
"""
