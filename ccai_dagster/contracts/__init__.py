# ruff: noqa: F401  (every name is here to be imported from this package)
"""The schema of every table that crosses from one room of the graph to another.

Each `Contract` names a table, its primary key and its columns with a sentence a reader can understand;
the same sentences are shown in Dagster's column schema. Checks of content that need more than one table
belong to the asset checks, not here. A contract stands in the module of the room that makes its table; all
of them can be imported from here.
"""

from ccai_dagster.contracts.adherence import (
    ADHERENCE,
    ADHERENCE_EXAMPLES,
    ADHERENCE_SCORES,
    CONFLICTS,
    CONTRAST_MARGINS,
    CONTRAST_PAIRS,
    CONTROL_STATEMENTS,
    GROUP_ADHERENCE,
    JUDGED_EXAMPLES,
    SPECIFICITY,
)
from ccai_dagster.contracts.audit import (
    DECISION_IMPORTANCE,
    DECISION_REVERSALS,
    DECISION_SENSITIVITY,
    DECISION_TRAIL,
    DECISION_WORLDS,
    FILE,
    PRINCIPLE_ROBUSTNESS,
)
from ccai_dagster.contracts.comparisons import (
    COMPARISONS,
    ELO_DIFFERENCES,
    ELO_SCORES,
    QUALITY,
    RATER_AGREEMENT,
    RATINGS,
    SEPARATED,
    SOURCE,
)
from ccai_dagster.contracts.constitution import (
    CONSTITUTION,
    CONSTITUTION_COMPARISON,
    CONSTITUTION_OVERLAP,
    SELECTED_STATEMENTS,
)
from ccai_dagster.contracts.decisions import LEDGER
from ccai_dagster.contracts.deliberation import (
    COMMENT_PRIORITIES,
    CONSENSUS_STABILITY,
    CONSENSUS_STATEMENTS,
    GAC_SCORES,
    GROUP_STABILITY,
    OPINION_GROUPS,
    PARTICIPANTS,
    REPRESENTATIVE_STATEMENTS,
    SIDE,
    STATEMENTS,
    VOTES,
)
from ccai_dagster.contracts.evaluation import (
    BENCHMARK_ITEMS,
    EVAL_SCORES,
    OPINION_REPRESENTATIVENESS,
    QUALITATIVE_PROMPTS,
    QUALITATIVE_RESPONSES,
)
from ccai_dagster.contracts.feedback import (
    PREFERENCE_PAIRS,
    PRINCIPLE_WEIGHTS,
    PROMPT_COVERAGE,
    PROMPTS,
    RESPONSE_PAIRS,
    REVISIONS,
)
from ccai_dagster.contracts.judge import JUDGE_ANSWERS, JUDGE_CALIBRATION, JUDGE_CALIBRATION_CURVE
from ccai_dagster.contracts.public_input import IMPORT_REPORT, RAW_PARTICIPANTS, RAW_STATEMENTS, RAW_VOTES
from ccai_dagster.contracts.replication import (
    ALIGNMENT_EVIDENCE,
    ATTACHED,
    LABELLING,
    ORIGIN,
    REPLICATED_GROUPS,
    REPLICATED_PRINCIPLES,
    REPLICATED_SCORES,
    REPLICATED_STATEMENTS,
    REPLICATION,
    SEED,
)
from ccai_dagster.contracts.schema import (
    ARM,
    COUNT,
    DECISION_IDS,
    IDS,
    JUDGE_AT_CHANCE,
    PARTICIPANT_ID,
    PROBABILITY,
    STATEMENT_ID,
    STATEMENT_IDS,
    TIME,
    VOTE,
    Check,
    Contract,
    Field,
)
from ccai_dagster.contracts.training import (
    ARM_STAGES,
    BENIGN_PAIRS,
    HELPFULNESS_PAIRS,
    MODEL,
    MODEL_CARDS,
    MODEL_STAGES,
    PREFERENCE_BALANCE,
    training_settings,
)
