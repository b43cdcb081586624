"""Training: the base model fetched once, the supervised policy, the preference model and the policy.

Every stage is a function from folders, tables and settings to a folder with a plain model (safetensors, tokenizer,
nothing of the run that made it) and a `TrainingOutcome`. Each takes the consultation's `seed`; `work`, a folder for
checkpoints, from which a training that was stopped goes on; `output`, the folder of the model, which appears when it is
complete, in the number format of the model that the training began with; and `progress`, which counts steps. Nothing
here knows of the graph.
"""
