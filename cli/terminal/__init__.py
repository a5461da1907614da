"""Draws tables, the live view and progress on a terminal; no logic of searches."""
