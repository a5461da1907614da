"""The parts of zero_cost.py: the scores, and the networks that they are held against."""
