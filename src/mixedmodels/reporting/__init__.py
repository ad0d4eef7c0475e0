"""A whole analysis as one page of HTML."""
