"""From scores and decisions to constitutions: selection, principles, overlap between constitutions.

Scores come from `deliberation`, merges, ideas and wordings from `decisions`; no text is written here.
"""
