"""The task that ships with LEON: a daily dose of warfarin for patients unlike those that the surrogate was fitted on.

Everything here is synthetic: patients, the doses they were given, what became of them. Research software, not medical advice.

What is here sees patients as they are recorded, doses and outcomes of the source population, and never the formula that outcomes are
drawn from: that is in llome.scoring.warfarin, which nothing below llome.leon may import.
"""

NOTICE = "Research software, not medical advice: synthetic patients, doses that nobody should take."
"""Said by every output of this task."""
LOWEST, HIGHEST = 0.5, 15.0
"""Bounds of a dose, mg a day: the design space."""
