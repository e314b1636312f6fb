-- Take or renew the lease of a rollout: mine stays mine, another's only once it has run out, by this clock.
-- Binds: rollout, holder (text), valid_s (numeric). Columns: holder, until, before (who held it), of the row
-- as it is now; no row where another holds it.
WITH known AS (SELECT holder FROM rollout.lease WHERE rollout = CAST(:rollout AS text))
INSERT INTO rollout.lease AS l (rollout, holder, taken_at, until)
VALUES (CAST(:rollout AS text), CAST(:holder AS text), clock_timestamp(),
        clock_timestamp() + CAST(:valid_s AS numeric) * interval '1 second')
ON CONFLICT (rollout) DO UPDATE
   SET holder = excluded.holder, until = excluded.until,
       taken_at = CASE WHEN l.holder = excluded.holder THEN l.taken_at ELSE excluded.taken_at END
 WHERE l.holder = excluded.holder OR l.until < clock_timestamp()
RETURNING l.holder, l.until, (SELECT holder FROM known) AS before
