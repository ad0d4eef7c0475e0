"""Tables that stay where they are: an engine sums them per cell, and the sums are fitted."""
