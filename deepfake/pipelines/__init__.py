"""One package a job; the only place where stages are chained."""
