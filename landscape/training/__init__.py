"""The trainer: recipe, schedule, history, resume."""
