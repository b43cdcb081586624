"""From votes to opinion groups and consensus: import, cleaning, groups, scores, and how sure they are.

What a person decided comes in as an argument; reading ledgers belongs to `decisions`.
"""
