"""What splits share that they must not, and what tells fakes from reals without looking at faces.

``inputs`` finds what is to be checked; ``uploads`` and ``duplicates`` look at tables alone. ``scan`` has Ray
look at every picture once (``fingerprints``); in its table ``near_duplicates`` finds pictures that are alike,
and ``probes`` learns labels from ``probe_features`` that say nothing of faces. ``pipeline`` chains them.
"""
