"""Training one run in this process, with exact resume, evaluation and tracking."""
