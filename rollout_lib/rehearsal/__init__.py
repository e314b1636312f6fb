"""A world to rehearse in: a server, simulated or live traffic, scenarios. Nothing in production
imports it.
"""
