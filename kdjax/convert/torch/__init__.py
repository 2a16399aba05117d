"""PyTorch files: formats, parameter names and array layouts."""
