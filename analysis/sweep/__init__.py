"""The table, the figure and the footnotes of one sweep."""
