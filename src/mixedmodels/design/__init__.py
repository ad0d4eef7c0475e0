"""From parsed terms and data to model columns: levels, coding, names, missing rows."""
