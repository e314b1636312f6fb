-- Remember what is going on with a subject (ended_at set: that it is over).
-- Binds: rollout, subject, state, since, told_at, escalated_at, ended_at.
INSERT INTO rollout.onset (rollout, subject, state, since, told_at, escalated_at, ended_at)
VALUES (CAST(:rollout AS text), CAST(:subject AS text), CAST(:state AS text), CAST(:since AS timestamptz),
        CAST(:told_at AS timestamptz), CAST(:escalated_at AS timestamptz), CAST(:ended_at AS timestamptz))
ON CONFLICT (rollout, subject) DO UPDATE
   SET state = excluded.state, since = excluded.since, told_at = excluded.told_at,
       escalated_at = excluded.escalated_at, ended_at = excluded.ended_at
