"""The variants of one experiment side by side: what the report of the whole file is made of (paper Figs. 7 and 10)."""
