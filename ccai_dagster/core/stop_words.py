"""English words that say nothing about what a text is about: those of scikit-learn.

They are read from its file, since loading the library takes longer than all that a command does with the words.
"""

import runpy
from importlib.metadata import distribution

ENGLISH_STOP_WORDS: frozenset[str] = runpy.run_path(
    str(distribution("scikit-learn").locate_file("sklearn/feature_extraction/_stop_words.py"))
)["ENGLISH_STOP_WORDS"]
