"""From finished runs to tables and figures. Never imports torch nor ablations; importing it loads nothing heavy."""
