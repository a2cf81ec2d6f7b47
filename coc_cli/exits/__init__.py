"""Where inputs leave: traces of all exits, policies on them, the predictor of the exit to come."""
