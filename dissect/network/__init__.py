"""Looking into a network: its layers, their outputs, where units are in them, and what reads them."""
