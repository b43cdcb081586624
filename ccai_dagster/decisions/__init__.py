"""What people decided: ledgers, what follows from them, and whether they are complete and still hold.

`ledger` reads and writes the files, `origins` tells people's rows from others, `independent_decisions` compares what
two people decided, `outcomes` and `values` turn decisions into what methods take. `checks` finds what is missing,
contradictory or lapsed; `agenda` lists what is still to be decided and suggests answers, `recording` appends an answer.
"""
