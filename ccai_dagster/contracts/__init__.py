# ruff: noqa: F401  (every name is here to be imported from this package)
"""The schema of every table that crosses from one stage of the graph to another.

Each `Contract` names a table, its primary key and its columns with a sentence a reader can understand; the same
sentences are shown in Dagster's column schema and in the documentation. Checks of content that need more than one
table belong to the asset checks, not here. A contract stands in the module of the stage that makes its table; all of
them can be imported from here.
"""

from ccai_dagster.contracts.audit import (
    ALIGNMENT_EVIDENCE,
    DECISION_IMPORTANCE,
    DECISION_REVERSALS,
    DECISION_SENSITIVITY,
    DECISION_TRAIL,
    DECISION_WORLDS,
    FILE,
    PRINCIPLE_ROBUSTNESS,
    REPLICATED_GROUPS,
    REPLICATED_PRINCIPLES,
    REPLICATED_SCORES,
    REPLICATED_STATEMENTS,
    REPLICATION,
)
from ccai_dagster.contracts.deliberation import (
    COMMENT_PRIORITIES,
    CONSENSUS_STABILITY,
    CONSENSUS_STATEMENTS,
    CONSTITUTION,
    CONSTITUTION_COMPARISON,
    CONSTITUTION_OVERLAP,
    GAC_SCORES,
    GROUP_STABILITY,
    IMPORT_REPORT,
    IMPORTANT_STATEMENTS,
    LEDGER,
    OPINION_GROUPS,
    PARTICIPANTS,
    RAW_PARTICIPANTS,
    RAW_STATEMENTS,
    RAW_VOTES,
    REPRESENTATIVE_STATEMENTS,
    SELECTED_STATEMENTS,
    STATEMENTS,
    TOO_FEW_VOTED,
    UNCERTAIN_STATEMENTS,
    VOTES,
)
from ccai_dagster.contracts.evaluation import (
    ADHERENCE,
    ADHERENCE_EXAMPLES,
    ADHERENCE_SCORES,
    BENCHMARK_ITEMS,
    COMPARISONS,
    CONFLICTS,
    CONTRAST_MARGINS,
    CONTRAST_PAIRS,
    CONTROL_STATEMENTS,
    ELO_DIFFERENCES,
    ELO_SCORES,
    EVAL_SCORES,
    GROUP_ADHERENCE,
    JUDGED_EXAMPLES,
    OPINION_REPRESENTATIVENESS,
    QUALITATIVE_PROMPTS,
    QUALITATIVE_RESPONSES,
    RATER_AGREEMENT,
    RATINGS,
    SPECIFICITY,
)
from ccai_dagster.contracts.feedback import (
    ARM_STAGES,
    BENIGN_PAIRS,
    HELPFULNESS_PAIRS,
    JUDGE_ANSWERS,
    JUDGE_CALIBRATION,
    JUDGE_CALIBRATION_CURVE,
    MODEL,
    MODEL_CARDS,
    MODEL_STAGES,
    PREFERENCE_BALANCE,
    PREFERENCE_PAIRS,
    PRINCIPLE_WEIGHTS,
    PROMPT_COVERAGE,
    PROMPTS,
    RESPONSE_PAIRS,
    REVISIONS,
    training_settings,
)
from ccai_dagster.contracts.schema import TIME, Contract
