"""The only place that speaks Mongo: named queries over one workspace, documents to domain objects and back."""
