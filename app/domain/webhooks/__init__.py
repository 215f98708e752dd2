"""Webhook endpoints: messages, partitions, deliveries, retry schedule."""
