"""Any subject of a consultation can be asked "why?": finding it by its id, and the answer.

Belongs here: one module a group of subjects, each reading finished tables, the ledgers and the manifest.
Doesn't belong here: printing, and anything that takes longer to load than the tables themselves.
"""
