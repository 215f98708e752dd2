"""Transports: GraphQL over HTTP, WebSocket, server-sent events, multipart."""
