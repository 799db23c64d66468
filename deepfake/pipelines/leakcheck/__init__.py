"""What splits share that they must not, and what tells fakes from reals without looking at faces.

``material`` finds what is to be checked; ``identities``, ``uploads`` and ``duplicates`` look at tables alone.
``reading`` has Ray look at every picture once (``pictures``); of what it brings back ``near`` finds pictures
that are alike, and ``probes`` learns labels from ``features`` that say nothing of faces. ``job`` chains them.
"""
