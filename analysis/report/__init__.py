"""The report: one HTML page that needs nothing but itself. Importing it loads nothing heavy."""
