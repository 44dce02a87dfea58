"""One module per file format: what its header says of the tensors inside. No torch, nothing is executed, no weight is read."""
