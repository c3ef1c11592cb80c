"""Surrogates of an oracle: fitted to labelled tables, searched instead of it. Nothing here ever sees an oracle."""
