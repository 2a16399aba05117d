"""Data sets by name, prepared and read through TensorFlow Datasets."""
