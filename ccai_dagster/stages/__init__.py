"""The child process: each stage with all it reads, the worker that runs it, and the language models.

No method is here. A stage calls methods of other packages and leaves tables, a model and figures in its folder.
"""
