"""Optional parts of the study; nothing in the rest of the library imports them."""
