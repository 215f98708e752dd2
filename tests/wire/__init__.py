"""A proxy that understands the wire protocol of MongoDB: tests put it before a store to change what it does."""
