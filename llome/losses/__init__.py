"""The objectives as pure functions of tensors: per example, no reduction, torch only."""
