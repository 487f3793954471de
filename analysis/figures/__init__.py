"""The figures of a sweep, drawn by matplotlib; `kinds` has all of them. This package and `style` load nothing heavy."""
