"""A dashboard for Weights & Biases: panels, and the views that hold them."""
