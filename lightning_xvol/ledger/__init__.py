"""What a run leaves on disk: records, checkpoints and locks, each written whole or not at all."""
