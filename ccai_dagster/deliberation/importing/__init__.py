"""From the files a consultation platform hands out to raw tables and a report on what was found.

`read_votes` is the way in: it finds the files (`recognition` tells by content what a table is) and leaves them to
`polis`, `long_table` or `wide_table`. All read `columns` of text, whose `cells` and `vote_values` they understand, give
people whose ids are codes their `numbering`, and end with `tables`, which are the same for every platform. `noted`
collects what the report says of the files, `polis_report` says what a Polis export holds, `copies` writes what of it
may be kept.
"""
