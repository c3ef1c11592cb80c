"""Speed of every hot path against what a user would pick instead: `make bench` (see CONTRIBUTING.md)."""
