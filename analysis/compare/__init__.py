"""The comparison of runs that differ in their settings, row by row of a sweep."""
