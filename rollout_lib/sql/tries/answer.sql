-- What the statement before found. No binds. Columns: answer (JSON as text).
SELECT current_setting('rollout.tried', true) AS answer
