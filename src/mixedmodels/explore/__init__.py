"""Tables to look at before a model is fitted, and next to one."""
