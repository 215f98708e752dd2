"""Tiers: the levels of a workspace's loyalty program, and when a pass reaches, keeps and loses one."""
