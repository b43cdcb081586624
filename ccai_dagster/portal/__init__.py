"""The portal: a web application in which a public votes and moderators decide.

Votes and statements are kept in a database below `CCAI_HOME`, which the import reads
(`ccai_dagster.deliberation.importing.portal`); what moderators decide goes to the same ledgers
as from the command line. Needs the extra `portal`; nothing else in the project imports Django.
"""
