"""A consultation folder out of the published files of Collective Constitutional AI (Huang et al. 2024).

`published_files` reads and cross-checks the source, `published_ledgers` and `published_choices` write down
what the authors decided and why, `folder` puts the consultation together. Nothing of the published data is
stored in this project; it is read where the user has it.
"""

from ccai_dagster.decisions.ccai.folder import build_from_ccai, sign_off

__all__ = ["build_from_ccai", "sign_off"]
