"""The LightningModules: one for each task, with its training step, its validation and its test."""
