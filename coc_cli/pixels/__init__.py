"""One image: its size and colour, its pixels, and how they are prepared for a network. No torch here."""
