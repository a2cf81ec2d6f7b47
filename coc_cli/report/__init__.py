"""`coc report`: what a run left, as a page, a comment, a table or data; several runs with their differences."""
