"""The store's migrations, in order; `feedback.schema` runs them."""
