"""From votes to opinion groups and consensus: import, cleaning, groups, scores, and how sure they are.

Functions take tables of `contracts` and settings and return tables. What a person decided comes in as an
argument; reading ledgers belongs to `decisions`.
"""
