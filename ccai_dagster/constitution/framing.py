"""Whether a principle says what a response should do, or what it should avoid.

Huang et al. (2024, section 4.2) note that over half of the public's principles encourage something, while the
standard ones rather discourage. This rule makes the count repeatable. It looks at words that compare or forbid:

- `avoid`: least, less, fewest, fewer, never, nobody, without, at most, no more than, a form of avoid, discourage
  or oppose, or "does not" as the predicate of the response (not "what it does not know");
- `do`: most, more, best, better, "as ... as possible", or a superlative in -est; but not "most discourages";
- `both` where it finds both, and `do` where it finds neither.

Measured on the 52 principles of the embedded consultation, sorted by a person: 51 alike, after one correction of
the rule on the same principles, so rather more than on new ones. Of the 75 published public principles it finds
43 to do, 30 to avoid and 2 both; a reader found 45, 29 and 1. It sees words, not meaning: "harmless" forbids
nothing here.
"""

from __future__ import annotations

import re
from typing import Literal

Framing = Literal["do", "avoid", "both"]
FRAMINGS: tuple[Framing, ...] = ("do", "avoid", "both")

_AVOID = re.compile(
    r"\b(?:least|less|fewest|fewer|never|nobody|without|at most|no more than|avoid\w*|discourag\w*|oppos\w*)\b"
    r"|(?:^|[.,;]|\b(?:that|and|but))\s*(?:does|do)(?: not|n['\u2019]t)\b",
    re.IGNORECASE,
)
_DO = re.compile(
    r"(?<!\bat )\bmost\b(?!(?:\s+\w+ly)?\s+(?:discourag|oppos|avoid))|(?<!\bno )\bmore\b|\b(?:best|better)\b"
    r"|\bas\b[^.]*?\bas possible\b",
    re.IGNORECASE,
)
_ENDS_AS_SUPERLATIVE = re.compile(r"\b\w{3,}est\b", re.IGNORECASE)
_NO_SUPERLATIVES = re.compile(
    r"(?:arr|ch|cont|dig|(?:dis)?hon|earn|few|for|gu|harv|inter|inv|le|manif|mod|prot|qu|requ|sugg|t|w)est",
    re.IGNORECASE,
)


def framing(text: str) -> Framing:
    """Sort a principle by its words."""
    avoids = _AVOID.search(text) is not None
    superlative = any(not _NO_SUPERLATIVES.fullmatch(word) for word in _ENDS_AS_SUPERLATIVE.findall(text))
    does = superlative or _DO.search(text) is not None
    if avoids and does:
        return "both"
    return "avoid" if avoids else "do"
