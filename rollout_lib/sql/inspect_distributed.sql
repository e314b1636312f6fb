-- Where Citus is installed: is the configuration one of its tables? No binds. Columns: distributed.
SELECT EXISTS (SELECT 1 FROM pg_dist_partition
                WHERE logicalrelid = 'webhook_routing_config'::regclass) AS distributed
