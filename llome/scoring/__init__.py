"""Black boxes and what may be asked of them. Only stages that label, or read what was answered, import this package."""

from llome.scoring.budget import Budget
from llome.scoring.ehrlich import Ehrlich
from llome.scoring.journal import Journal
from llome.scoring.oracle import Oracle, load_oracle, make_oracle, save_oracle

__all__ = ["Budget", "Ehrlich", "Journal", "Oracle", "load_oracle", "make_oracle", "save_oracle"]
