"""What is published beside the records: pages with numbers from them, and descriptions (RO-Crate and Croissant)."""
