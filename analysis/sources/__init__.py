"""Where runs are read from. Every source gives one tidy frame with the same columns and dtypes (`collection`)."""
