"""Pages and plots for people. Reads finished tables and numbers; scores nothing."""
