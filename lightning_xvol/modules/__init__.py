"""The LightningModules: what a training step, a validation and a test compute for each task."""
