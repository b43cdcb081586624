"""Training: the base model fetched once, the supervised policy, the preference model and the policy.

Every stage is a function from folders, tables and settings to a folder with a plain model (safetensors,
tokenizer, nothing of the run that made it) and a `TrainingOutcome`. Nothing here knows of the graph.
"""
