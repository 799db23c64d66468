"""Pages and plots for people. Reads finished tables and numbers; computes no metric and scores nothing."""
