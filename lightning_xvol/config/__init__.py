"""What a run is: its configuration, the registry, recipes and presets of detectors. Nothing here loads torch."""
