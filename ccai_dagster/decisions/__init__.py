"""What people decided: ledgers, what follows from them, and whether they are complete and still hold.

`decision` is one row, `ledger` the file, `chains` what replaces what, `doubles` what two people decided
independently; `verdicts`, `wordings` and `settled_values` are what the other rooms take; `checks` finds what is
missing, doubled, dangling or lapsed; `agenda` tells subject by subject what is still to be decided, `suggestions`
what may help, `recording` writes the answer; `ccai` builds a consultation folder out of the published files of
Collective Constitutional AI.
"""
