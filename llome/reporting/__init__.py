"""What a run found, read off its files: curves, figures and the page of the report. Nothing here scores a sequence."""
