"""What a run is: the configuration, the registry, recipes and detector presets. Nothing heavy loads here."""
