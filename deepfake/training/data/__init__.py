"""What the training loop is fed with: the plan of an epoch, and crops as batches."""
