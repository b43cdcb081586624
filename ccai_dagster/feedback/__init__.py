"""AI feedback: prompts, critique and revision, response pairs, preference labels, and how good the judge is.

Everything here talks to a `language_model.LanguageModel` and to tables; which model that is, and where it
runs, is decided by the resources. Training on what comes out is in `training`.
"""
