"""What is published beside the records: pages whose numbers are rendered from them, RO-Crate and Croissant files."""
