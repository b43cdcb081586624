"""What people decided: ledgers, what follows from them, and whether they are complete and still hold.

`ledger` reads and writes the files, `independent_decisions` compares what two people decided, `outcomes` turns
decisions into values that methods take. `checks` finds what is missing, contradictory or lapsed; `agenda` lists what
is still to be decided and suggests answers, `recording` appends an answer.
"""
