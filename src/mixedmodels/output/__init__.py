"""Results as text and pages."""
