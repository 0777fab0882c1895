-- What the catalogue says about the table, in one snapshot, as one JSON object. The vault itself asks for the first part
-- alone: it takes no lock, and reads only what every role may read. A part between the two marks
-- with its name is left out unless it is wanted.
-- $1 the schema of the table, $2 its name. Runs with a safe search path.
SELECT json_build_object(
'table', (SELECT json_build_object(
  'kind', c.relkind,
  'persistence', CASE WHEN c.relpersistence = 'p' AND EXISTS (
      WITH RECURSIVE below (oid) AS (
        SELECT h.inhrelid FROM pg_inherits h WHERE h.inhparent = c.oid
        UNION SELECT h.inhrelid FROM pg_inherits h JOIN below ON h.inhparent = below.oid)
      SELECT FROM below JOIN pg_class b ON b.oid = below.oid WHERE b.relpersistence <> 'p') THEN 'u'
    ELSE c.relpersistence END,
  'columns', (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'type', format_type(a.atttypid, a.atttypmod),
      'base', CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text ELSE 'other '::text || t.typname::text END,
      'modifier', a.atttypmod,
      -- of a domain: the type below all domains
      'domain_over', (
        WITH RECURSIVE below AS (
          SELECT b.typtype, b.typbasetype, b.typname, b.typnamespace FROM pg_type b WHERE b.oid = t.typbasetype
          UNION ALL
          SELECT b.typtype, b.typbasetype, b.typname, b.typnamespace
          FROM below JOIN pg_type b ON b.oid = below.typbasetype WHERE below.typtype = 'd')
        SELECT CASE WHEN typnamespace = 'pg_catalog'::regnamespace THEN typname::text ELSE 'other '::text || typname::text END
        FROM below WHERE typtype <> 'd'),
      -- a cast that somebody made for an enum would run, and could give two of its values one text
      'enum', CASE WHEN t.typtype = 'e' AND NOT EXISTS (SELECT FROM pg_cast k WHERE t.oid IN (k.castsource, k.casttarget)) THEN (SELECT format('%I.%I', n3.nspname, t.typname) FROM pg_namespace n3 WHERE n3.oid = t.typnamespace) END,
      'first_label', (SELECT e.enumlabel FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder LIMIT 1),
      -- whether a foreign key refers to it
      'referenced', EXISTS (SELECT FROM pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f' AND a.attnum = ANY (k.confkey)),
      -- of a type whose name we may use: the type of an array of its values, for the schema assertion
      'array_type', (SELECT format('%I.%I', n2.nspname, y.typname) FROM pg_type y JOIN pg_namespace n2 ON n2.oid = y.typnamespace
                     WHERE y.oid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 THEN t.oid ELSE t.typarray END
                     AND has_schema_privilege(n2.oid, 'USAGE')),
      'not_null', a.attnotnull,
      'deterministic', coalesce(l.collisdeterministic, true),
      'generated', a.attgenerated <> '',
      'identity', a.attidentity <> '',
      'always_identity', a.attidentity = 'a',
      'comment', col_description(c.oid, a.attnum),
      'readable', has_column_privilege(c.oid, a.attnum, 'SELECT'),
      'writable', a.attgenerated = '' AND has_column_privilege(c.oid, a.attnum, 'UPDATE')) ORDER BY a.attnum), '[]')
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'indexes', (SELECT coalesce(json_agg(json_build_object(
      'name', x.relname,
      'method', m.amname,
      'unique', i.indisunique,
      'primary', i.indisprimary,
      'immediate', i.indimmediate,
      'valid', i.indisvalid AND i.indisready,
      'live', i.indislive,
      'nulls_not_distinct', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false),
      'partial', i.indpred IS NOT NULL,
-- [predicates
      -- the server may lock the relation before it prints this
      'predicate', pg_get_expr(i.indpred, i.indrelid),
-- predicates]
      'has_expressions', i.indexprs IS NOT NULL,
      'columns', (SELECT coalesce(json_agg(a.attname ORDER BY k.at), '[]')
                  FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, at)
                  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number),
      'in_expressions', (SELECT coalesce(json_agg(DISTINCT a.attname), '[]')
                         FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                         WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                         AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid > 0)
      ) ORDER BY x.relname), '[]')
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = c.oid)
-- [definitions
  -- The server locks a relation before it prints an expression of it, or says how large it is.
, 'definitions', json_build_object(
    'server', json_build_object(
      'version', current_setting('server_version_num')::int,
      'role', current_user,
      'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
      'auth_uid', {is_supabase},
      'others_auth_uid', (SELECT format('%s of role %s', f.oid::regprocedure, pg_get_userbyid(CASE WHEN pg_has_role(n.nspowner, c.relowner, 'USAGE') THEN f.proowner ELSE n.nspowner END))
                          FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
                          WHERE n.nspname = 'auth' AND f.proname = 'uid' AND f.pronargs = 0 AND NOT {is_supabase}),
      'roles', (SELECT coalesce(json_agg(json_build_object('name', rolname, 'bypasses', rolbypassrls OR rolsuper) ORDER BY rolname), '[]')
                FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role')),
      'role_names', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles)),
    'relation', json_build_object(
      'oid', c.oid::int8,
      'owner', pg_get_userbyid(c.relowner),
      'owner_is_superuser', (SELECT rolsuper FROM pg_roles WHERE oid = c.relowner),
      'owned', pg_has_role(c.relowner, 'USAGE'),
      'can_create', has_schema_privilege(n.oid, 'CREATE'),
      'row_security', c.relrowsecurity,
      'forced', c.relforcerowsecurity,
      'row_security_active', row_security_active(c.oid),
      'hides_rows', {hides_rows},
      'holds_back', {holds_back},
      'rows', c.reltuples::int8,
      'bytes', (SELECT coalesce(sum(pg_relation_size(p.relid)), 0)::int8 FROM pg_partition_tree(c.oid) p WHERE p.isleaf)
               + CASE c.relkind WHEN 'r' THEN pg_relation_size(c.oid) ELSE 0 END,
      'partition_key', (SELECT coalesce(json_agg(a.attname), '[]')
                        FROM pg_partitioned_table p
                        CROSS JOIN unnest(p.partattrs::int2[]) AS k
                        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k
                        WHERE p.partrelid = c.oid),
      -- tables whose foreign keys delete or change their rows when a row of ours goes
      'cascades', (SELECT coalesce(json_agg(DISTINCT k.conrelid::regclass::text), '[]') FROM pg_constraint k
                   WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd'))),
    'columns', (SELECT coalesce(json_agg(json_build_object(
        'name', a.attname,
        'collation', CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
        'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
        -- whether its default makes a new value for each row, as gen_random_uuid() does
        'makes_values', a.attgenerated = '' AND EXISTS (
          SELECT FROM regexp_matches(coalesce(d.adbin, t.typdefaultbin)::text, ':(?:op)?funcid (\d+)', 'g') AS m
          JOIN pg_proc f ON f.oid = m[1]::oid WHERE f.provolatile = 'v')) ORDER BY a.attnum), '[]')
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    'indexes', (SELECT coalesce(json_agg(json_build_object(
        'name', x.relname,
        'sql', pg_get_indexdef(i.indexrelid),
        'predicate', pg_get_expr(i.indpred, i.indrelid),
        'constraint', (SELECT k.conname FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid LIMIT 1),
        -- the text of each, and whether its values are truth, numbers or times, in which no token is
        'expressions', (SELECT coalesce(json_agg(json_build_object('sql', pg_get_indexdef(i.indexrelid, a.attnum, false),
                                'holds_text', t.typcategory NOT IN ('B', 'N', 'D', 'T')) ORDER BY a.attnum), '[]')
                        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                        WHERE a.attrelid = i.indexrelid AND (i.indkey::int2[])[a.attnum - 1] = 0),
        'included', (SELECT coalesce(json_agg(a.attname ORDER BY k.at), '[]')
                     FROM unnest((i.indkey::int2[])[i.indnkeyatts:]) WITH ORDINALITY AS k (number, at)
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number)) ORDER BY x.relname), '[]')
      FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
      WHERE i.indrelid = c.oid),
    'constraints', (SELECT coalesce(json_agg(json_build_object(
        'name', k.conname,
        'kind', k.contype,
        'definition', pg_get_constraintdef(k.oid),
        'validated', k.convalidated,
        'columns', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum = ANY(k.conkey))) ORDER BY k.conname), '[]')
      FROM pg_constraint k WHERE k.conrelid = c.oid),
    'triggers', (SELECT coalesce(json_agg(json_build_object(
        'name', t.tgname,
        'definition', pg_get_triggerdef(t.oid),
        'enabled', t.tgenabled <> 'D',
        'source', f.prosrc,
        'function', f.oid::regprocedure::text,
        -- one that puts rows somewhere or hands them on, or lies elsewhere; what is written in C may do anything, but for a module of
        -- Postgres that sets the time of a change
        'copies', (f.pronamespace NOT IN (c.relnamespace, 'pg_catalog'::regnamespace) OR l.lanname = 'c'
                   OR f.prosrc ~* '\m(insert|execute|call|copy)\M|\mperform\s+(?!(pg_catalog\.)?(pg_notify|set_config)\M)')
                  AND NOT (l.lanname = 'c' AND f.prosrc = 'moddatetime')
                  -- the vault's own: it notes who was deleted
                  AND f.oid::regprocedure::text <> 'retell_vault.note_removed()') ORDER BY t.tgname), '[]')
      FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid JOIN pg_language l ON l.oid = f.prolang
      WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
    'policies', (SELECT coalesce(json_agg(json_build_object(
        'name', p.polname,
        'command', p.polcmd,
        'permissive', p.polpermissive,
        'roles', (SELECT json_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END) FROM unnest(p.polroles) AS r),
        'using', pg_get_expr(p.polqual, p.polrelid),
        'check', pg_get_expr(p.polwithcheck, p.polrelid),
        -- those that it calls, also by way of an operator
        'others_functions', (SELECT coalesce(json_agg(DISTINCT format('%s of role %s', f.oid::regprocedure, pg_get_userbyid(f.proowner))), '[]')
                             FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
                             JOIN pg_proc f ON f.oid = CASE d.refclassid WHEN 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
                             WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND NOT {is_trusted_function}),
        'names_columns', EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = p.polrelid AND d.refobjsubid > 0)) ORDER BY p.polname), '[]')
      FROM pg_policy p WHERE p.polrelid = c.oid),
    -- of the schema of the table: those that are ours, and those that the wanted schema names
    'functions', (SELECT coalesce(json_agg(json_build_object(
        'name', f.proname,
        'arguments', pg_get_function_identity_arguments(f.oid),
        'source', f.prosrc,
        'security_definer', f.prosecdef,
        'trusted', pg_has_role(f.proowner, c.relowner, 'USAGE'),
        'settings', coalesce(to_json(f.proconfig), '[]'),
        'definition', pg_get_functiondef(f.oid),
        'grantees', (SELECT coalesce(json_agg(CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                     FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS g
                     WHERE g.privilege_type = 'EXECUTE' AND g.grantee <> f.proowner)
        ) ORDER BY f.proname), '[]')
      FROM pg_proc f
      WHERE f.pronamespace = c.relnamespace AND f.prokind = 'f'
        AND (f.proname LIKE 'retell\_vault\_%'
             OR f.proname IN ('store_retell_config', 'get_complete_user_profile', 'update_retell_integration_status'))),
    -- tables that may hold copies of rows, with the function that writes there if a trigger of the table runs one
    'copies', (
      WITH written AS (
        SELECT f.oid, f.prosrc, string_to_array(encode(t.tgargs, 'escape'), '\000') AS arguments
        FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
          AND f.oid::regprocedure::text <> 'retell_vault.note_removed()'),
      -- and the functions that those call by their qualified names
      writers AS MATERIALIZED (
        SELECT oid, oid AS called_by, prosrc, arguments FROM written
        UNION ALL
        SELECT f.oid, w.oid, f.prosrc, '{}' FROM written w CROSS JOIN pg_proc f JOIN pg_namespace s ON s.oid = f.pronamespace
        WHERE s.nspname NOT IN ('pg_catalog', 'information_schema') AND f.oid <> w.oid
          AND strpos(lower(w.prosrc), lower(s.nspname || '.' || f.proname || '(')) > 0),
      others AS (
        SELECT r.oid, s.nspname, r.relname, lower(r.relname) AS name,
          regexp_replace(lower(r.relname), '([^[:alnum:]_])', '\\\1', 'g') AS pattern
        FROM pg_class r JOIN pg_namespace s ON s.oid = r.relnamespace
        WHERE r.relkind IN ('r', 'p', 'f') AND NOT r.relispartition AND r.oid <> c.oid
          AND s.nspname NOT LIKE 'pg\_%' AND s.nspname <> 'information_schema' AND r.relname NOT LIKE 'retell\_vault\_%')
      SELECT coalesce(json_agg(json_build_object('relation', format('%I.%I', o.nspname, o.relname), 'function', w.function)
                               ORDER BY o.nspname, o.relname), '[]')
      FROM others o
      CROSS JOIN LATERAL (
        SELECT min(w.called_by::regprocedure::text) AS function FROM writers w
        WHERE CASE WHEN strpos(lower(w.prosrc), o.name) > 0
                   THEN w.prosrc ~* ('\minsert\s+into\s+("?[[:alnum:]_$]+"?\s*\.\s*)?"?' || o.pattern || '"?([^[:alnum:]_$.]|$)') END
           OR EXISTS (SELECT FROM unnest(w.arguments) AS a WHERE lower(replace(a, '"', '')) IN (o.name, lower(o.nspname) || '.' || o.name))) AS w
      WHERE w.function IS NOT NULL
         -- written by a rule
         OR EXISTS (SELECT FROM pg_rewrite k JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = k.oid
                    WHERE k.ev_class = c.oid AND k.ev_type <> '1' AND d.refclassid = 'pg_class'::regclass AND d.refobjid = o.oid)
         -- named after the table, with columns of it or with whole rows
         OR (o.name ~ ('^(' || regexp_replace(lower(c.relname), '([^[:alnum:]_])', '\\\1', 'g')
                       || '_?(history|hist|audits?|aud|audit_?logs?|change_?logs?|logs?|versions?|revisions?|archived?|changes|events?|backups?|bak|old|copy|snapshots?)'
                       || '|(history|historical|audits?|aud|archived?|backups?|old|copy)_?' || regexp_replace(lower(c.relname), '([^[:alnum:]_])', '\\\1', 'g') || ')$')
             AND EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                         WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
                           AND (t.typname IN ('json', 'jsonb', 'hstore')
                                OR EXISTS (SELECT FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attname = a.attname AND b.attnum > 0
                                           AND NOT b.attisdropped AND a.attname NOT IN ('id', 'created_at', 'updated_at')))))
         -- rows of any table: which table, and a row before or after a change
         OR (EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
                     AND lower(a.attname) IN ('table_name', 'tablename', 'table_oid', 'relation', 'relname', 'relid', 'item_type', 'auditable_type',
                                              'entity_type', 'entity_name', 'model', 'model_name', 'content_type_id', 'object_type', 'resource_type'))
             AND EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                         WHERE a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped AND t.typname IN ('json', 'jsonb', 'hstore', 'text')
                           AND lower(a.attname) IN ('record', 'old_record', 'row_data', 'changed_fields', 'old_data', 'new_data', 'old_values', 'new_values',
                                                    'old_row', 'new_row', 'object', 'object_changes', 'audited_changes', 'before', 'after', 'changes',
                                                    'original_data', 'old_value', 'new_value')))),
    -- other relations of the schema whose names are ours
    'ours', (SELECT coalesce(json_agg(o.relname ORDER BY o.relname), '[]') FROM pg_class o
             WHERE o.relnamespace = c.relnamespace AND o.relname LIKE 'retell\_vault\_%')
  )
-- definitions]
  ) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2)
-- [text_columns
  -- Every column that can hold a token as text, in the table, in our own tables of its schema, and in tables that inherit
  -- from any of them. A column that a child has from one of these is read with its parent. A type is asked for what it
  -- cannot hold, so that one that is not thought of is looked at.
, 'text_columns', (
  WITH RECURSIVE family (oid, own) AS (
    SELECT c.oid, c.relname <> $2 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND (c.relname = $2
      OR (c.relname LIKE 'retell\_vault\_%' AND c.relkind IN ('r', 'p', 'm') AND c.relispopulated))
    UNION SELECT i.inhrelid, f.own FROM pg_inherits i JOIN family f ON f.oid = i.inhparent
  ), relations (oid, schema, name, own, root, owner, rows) AS (
    SELECT c.oid, n.nspname, c.relname, bool_and(f.own), n.nspname = $1 AND c.relname = $2, c.relowner, c.reltuples::int8
    FROM family f JOIN pg_class c ON c.oid = f.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY c.oid, n.nspname, c.relname, c.relowner, c.reltuples
  )
  SELECT coalesce(json_agg(json_build_object('schema', r.schema, 'table', r.name, 'own', r.own, 'rows', r.rows, 'name', a.attname,
      'trusted', NOT r.own OR (SELECT pg_has_role(r.owner, t.owner, 'USAGE') FROM relations t WHERE t.root) IS TRUE,
      -- for the role that reads it
      'readable', has_column_privilege(coalesce({acting}, (SELECT oid FROM pg_roles WHERE rolname = current_user)), r.oid, a.attnum, 'SELECT'))
    ORDER BY NOT r.root, NOT r.own, r.schema, r.name, a.attnum), '[]')
  FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid
  JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
  WHERE a.attnum > 0 AND NOT a.attisdropped
    -- a partition whose detaching was interrupted is no longer read with its parent
    AND NOT EXISTS (SELECT FROM pg_inherits i JOIN relations p ON p.oid = i.inhparent
      JOIN pg_attribute b ON b.attrelid = p.oid AND b.attname = a.attname AND NOT b.attisdropped
      WHERE i.inhrelid = r.oid AND coalesce(to_jsonb(i) ->> 'inhdetachpending', 'false') = 'false')
    AND coalesce(e.typcategory, t.typcategory) NOT IN ('B', 'D', 'E', 'G', 'I', 'N', 'T', 'V')
    AND coalesce(e.oid, t.oid) NOT IN ('uuid'::regtype, 'pg_lsn'::regtype))
-- text_columns]
)::text
