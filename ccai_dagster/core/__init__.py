"""What every part of the project uses: digests, draws, errors, files, text. It imports nothing else of the project."""
