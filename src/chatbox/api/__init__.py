"""HTTP: one module a noun, each a function that makes its routes from what they need."""
