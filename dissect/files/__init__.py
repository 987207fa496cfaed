"""What is written to disk and read again: tensors with their checksum, a run's progress, and what they must hold."""
