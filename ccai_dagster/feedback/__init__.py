"""AI feedback: prompts, critique and revision, response pairs, preference labels, and how good the judge is.

Everything here asks a `language_model.LanguageModel` and makes tables; which model that is, and where it
runs, is decided by `stages`. Training on what comes out is in `training`.
"""
