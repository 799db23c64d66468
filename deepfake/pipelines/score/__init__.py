"""Scores for a whole archive of videos, and the pages that show them."""
