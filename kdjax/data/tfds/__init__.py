"""Datasets by name, prepared and read through TensorFlow Datasets (TFDS)."""
