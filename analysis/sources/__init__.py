"""The sources of runs. Every source gives the same tidy frame, with the same columns and dtypes (`collection`)."""
