"""A name that training scripts import; where nothing trains there is nothing in it."""
