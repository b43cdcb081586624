"""The evaluation page: what each constitution changed, and how sure that is, for a reader who wrote no code.

One module a chapter; `parts` are what chapters are made of, `page` puts them into one HTML file. Nothing is
computed here but words, places on a line and counts: figures and intervals come with the tables.
"""
