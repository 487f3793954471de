"""The files of a run: records, checkpoints and locks. Each file is written whole or not at all."""
