"""Alerts: rules over numbers of the store, incidents, and who is told of them."""
