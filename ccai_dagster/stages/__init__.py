"""The child process: each stage with all it reads, the worker that runs it, and the models that answer.

No method lives here. A stage calls methods of other packages and leaves tables, a model and figures in its folder.
"""
