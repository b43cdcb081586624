"""From the files a consultation platform hands out to raw tables and a report on what was found.

Here are the parts: finding the files, reading columns, times, bodies, the sign of votes, the era of an
export, and the sentences of the report. What a Polis export is made of stands in `polis_export`, a plain
table of votes is read by `long_table`, and `read_votes` tells one from the other.
"""
