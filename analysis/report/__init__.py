"""The report: one HTML page that needs no other file and no network. Importing this package loads nothing heavy."""
