"""What an experiment asks of a GPU, computed before one is asked for: memory by part, and hours (`llome plan`).

Shapes of models, formulas of memory and of operations, cards, and what an experiment's files say of its stages. Nothing here imports
torch or opens a model's weights.
"""
