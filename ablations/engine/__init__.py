"""The engine of a sweep: from its rows and axes to cells, and from cells to results."""
