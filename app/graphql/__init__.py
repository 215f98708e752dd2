"""The only place that speaks GraphQL: the schema, its types, thin roots, and the protocols that carry it."""
