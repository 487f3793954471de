"""A dashboard for Weights & Biases: its panels, and the saved views that contain them."""
