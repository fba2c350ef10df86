"""The functions and tables of Citus that `multisite distribute` uses, on plain PostgreSQL.

They enforce what Citus 13.2 enforces of keys, references and triggers when a table is distributed, and keep the rows
where they are. The extension's row makes `fresh_postgresql` drop the database afterwards.
"""

from __future__ import annotations

import psycopg

__all__ = ["install_citus_stub"]

_STUB = """
SET allow_system_table_mods = on;
CREATE TABLE pg_catalog.pg_dist_node (groupid int, noderole text, isactive bool, shouldhaveshards bool);
INSERT INTO pg_dist_node VALUES (0, 'primary', true, false), (1, 'primary', true, true), (2, 'primary', true, true);
CREATE TABLE pg_catalog.pg_dist_partition (
    logicalrelid regclass PRIMARY KEY, partmethod "char", colocationid int, repmodel "char"
);
INSERT INTO pg_extension SELECT 99999, 'citus', 10, 'public'::regnamespace, false, '13.2-1', NULL, NULL;

CREATE FUNCTION pg_catalog.refuse_triggers(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = t AND NOT tgisinternal) THEN
        RAISE 'a trigger would fire for each row that is copied to a shard of %', t;
    END IF;
END $$;

CREATE FUNCTION pg_catalog.create_reference_table(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND (conrelid = t OR confrelid = t)
               AND EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid IN (conrelid, confrelid))) THEN
        RAISE 'cannot create foreign key constraint since relations are not colocated: %', t;
    END IF;
    PERFORM refuse_triggers(t);
    INSERT INTO pg_dist_partition VALUES (t, 'n', 1, 't');
END $$;

CREATE FUNCTION pg_catalog.create_distributed_table(t regclass, key text, colocate_with text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_index WHERE indrelid = t AND indisunique AND (
               SELECT attnum FROM pg_attribute WHERE attrelid = t AND attname = key) <> ALL (indkey)) THEN
        RAISE 'cannot create constraint on "%": it has no distribution column', t USING ERRCODE = '0A000';
    END IF;
    IF EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND (conrelid = t OR confrelid = t)) THEN
        RAISE 'cannot create foreign key constraint since relations are not colocated: %', t USING ERRCODE = '0A000';
    END IF;
    IF colocate_with <> 'none'
       AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass) THEN
        RAISE '% is not distributed', colocate_with;
    END IF;
    PERFORM refuse_triggers(t);
    IF current_setting('citus_stub.lose', true) = t::text THEN
        EXECUTE format('DELETE FROM %s WHERE ctid = (SELECT min(ctid) FROM %s)', t, t);
    END IF;
    INSERT INTO pg_dist_partition VALUES (t, 'h', 2, 's');
END $$;

CREATE FUNCTION pg_catalog.create_distributed_table_concurrently(t regclass, key text, colocate_with text)
RETURNS void LANGUAGE sql AS 'SELECT create_distributed_table(t, key, colocate_with)';

CREATE FUNCTION pg_catalog.undistribute_table(t regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND (conrelid = t OR confrelid = t)) THEN
        RAISE 'cannot undistribute table "%" because it has a foreign key', t;
    END IF;
    PERFORM refuse_triggers(t);
    DELETE FROM pg_dist_partition WHERE logicalrelid = t;
END $$;

CREATE FUNCTION pg_catalog.create_distributed_function(f regprocedure) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(t regclass) RETURNS void LANGUAGE sql AS '';
"""


def install_citus_stub(url: str) -> None:
    """Install the stub in a database, whose URL is a superuser's."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(_STUB)
