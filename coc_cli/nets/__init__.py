"""What a network is: its spec, and the module that `build` makes of it."""
