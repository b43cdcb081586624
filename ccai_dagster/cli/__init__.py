"""The commands of `ccai`, which `app` registers."""
