"""How a street, a room or a landscape is laid out: what is painted where, from back to front."""
