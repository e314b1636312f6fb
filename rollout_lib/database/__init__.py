"""Everything that speaks to PostgreSQL: connection, ledger, routing, traffic,
catalog, migrations.
"""
