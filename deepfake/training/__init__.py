"""The distributed learning loop, without a job around it."""
