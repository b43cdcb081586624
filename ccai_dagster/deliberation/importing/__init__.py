"""From the files a consultation platform hands out to raw tables and a report on what was found.

`read_votes` is the way in: it finds the files and leaves them to `polis` or to `long_table`. Both read `columns` of
text and end with `tables`, which are the same for every platform; `polis_report` says what a Polis export holds.
"""
