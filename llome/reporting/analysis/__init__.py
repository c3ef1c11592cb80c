"""What the loop never asked: the scores of all proposals of a round, and the paper's Figs. 4, 5, 6, 12 and 13 drawn from them.

Only `llome analyze` and the report import this package, and a contract sees to it: what is known here may not steer a search. Nothing
here scores a sequence.
"""
