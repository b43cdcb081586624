"""What people decided: ledgers, what follows from them, and whether they are complete and still hold.

`decision` is one row, `ledger` the file; `verdicts`, `wordings` and `settled_values` are what the other rooms
take; `checks` finds what is missing, doubled, dangling or lapsed; `ccai` builds a consultation folder out of
the published files of Collective Constitutional AI.
"""
