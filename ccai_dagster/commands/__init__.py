"""The commands of `ccai` that work on what a consultation has decided and made; `cli` registers them.

They read ledgers, votes and finished tables, and import no part of the graph.
"""
