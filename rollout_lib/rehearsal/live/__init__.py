"""The traffic itself, on loopback: a reference router, the functions behind it, a client, and who
watches.

For rehearsals, and for reading: a sound webhook-traffic-router looks like this one. Nothing in
production imports it."""
