"""Resumable work on Ray Data: sessions, units of work, plans, outputs."""
