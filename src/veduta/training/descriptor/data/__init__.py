"""Photos for training: data set, batches, augmentation, sampling and audit."""
