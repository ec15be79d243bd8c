"""Functions from tensors to numbers: one metric a file."""
