"""The only package that speaks MongoDB: named queries, and codecs between documents and domain objects."""
