"""The formula language: text in R's notation becomes checked terms; no data here."""
