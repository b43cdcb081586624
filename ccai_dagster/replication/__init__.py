"""Reproducing a published result from its votes, and correcting how its groups were attached.

Belongs here: the published figures, the groups as published and recomputed, evidence for their alignment, and
what follows for statements and principles. Doesn't belong here: how groups and scores are computed
(`deliberation`), how the page looks (`audit`).
"""
