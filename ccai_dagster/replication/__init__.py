"""Reproducing a published result from its votes, and correcting how its groups were attached.

Belongs here: the published files and the consultation folder made of them, the groups as published and recomputed,
evidence for their alignment, what follows for statements, principles and figures, and the page about it. Doesn't
belong here: how groups and scores are computed (`deliberation`), how pages and pictures look (`pages`).
"""
