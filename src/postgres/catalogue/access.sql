-- Who may reach the table, and by which ways, as one JSON object. It searches the sources of functions, so it is too
-- slow for the vault itself.
-- $1 its schema, $2 its name, $3 the columns that the vault uses, $4 those that say whose a row is. Runs with a safe search path.
WITH RECURSIVE t AS (
  SELECT c.oid, c.relname, c.relowner, c.relacl, c.relnamespace, c.relrowsecurity
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2),
supabase AS (SELECT {is_supabase} AS here FROM t),
-- roles that are meant to see every row, or to whom policies do not apply
services AS (
  SELECT r.oid FROM pg_roles r CROSS JOIN t CROSS JOIN supabase
  WHERE r.rolname NOT IN ('anon', 'authenticated')
    AND (r.rolsuper OR r.rolbypassrls OR (r.rolname = 'service_role' AND supabase.here) OR r.rolname = current_user
         OR pg_has_role(r.oid, t.relowner, 'USAGE')
         OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = 'retell_vault_service'
                    AND r.oid = ANY(p.polroles)))),
rights AS (
  SELECT g.grantee, g.grantor, g.privilege_type AS privilege, NULL::text AS attribute
  FROM t CROSS JOIN aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) AS g
  UNION ALL
  SELECT g.grantee, g.grantor, g.privilege_type, a.attname::text
  FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  CROSS JOIN aclexplode(a.attacl) AS g
  -- who may write whose a row is gives it to another
  WHERE a.attname = ANY($3) OR (a.attname = ANY($4) AND g.privilege_type IN ('INSERT', 'UPDATE'))),
-- everybody (0), and the role of who is not signed in
outsiders AS (
  SELECT 0::oid AS holder, 'public'::text AS name
  UNION ALL SELECT oid, rolname::text FROM pg_roles WHERE rolname = 'anon'),
granted AS (
  SELECT o.name AS holder, g.grantee, g.grantor, g.attribute IS NOT NULL AS partial,
    array_agg(DISTINCT g.privilege ORDER BY g.privilege) AS privileges,
    coalesce(array_agg(DISTINCT g.attribute ORDER BY g.attribute) FILTER (WHERE g.attribute IS NOT NULL), '{}') AS attributes
  FROM outsiders o JOIN rights g
    ON CASE WHEN o.holder = 0 OR g.grantee = 0 THEN o.holder = g.grantee ELSE pg_has_role(o.holder, g.grantee, 'USAGE') END
  -- policies hold neither for TRUNCATE nor for what a trigger of theirs sees
  WHERE g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
  GROUP BY o.name, g.grantee, g.grantor, g.attribute IS NOT NULL),
-- those that are anon's too, as a member
anons AS (
  SELECT g.oid FROM pg_roles g JOIN pg_roles a ON a.rolname = 'anon' AND a.oid <> g.oid AND pg_has_role(a.oid, g.oid, 'USAGE')
  WHERE NOT a.rolsuper),
-- ordinary users, and the roles whose rights they have
ordinary AS (
  SELECT 0::oid AS oid
  UNION SELECT g.oid FROM pg_roles g JOIN pg_roles u ON u.rolname IN ('anon', 'authenticated') AND pg_has_role(u.oid, g.oid, 'USAGE')),
partitions AS (
  SELECT i.inhrelid AS oid FROM pg_inherits i JOIN t ON i.inhparent = t.oid
  UNION
  SELECT i.inhrelid FROM pg_inherits i JOIN partitions p ON i.inhparent = p.oid),
whole AS (SELECT oid FROM t UNION SELECT oid FROM partitions),
-- views of the table, and views of those
views AS (
  SELECT r.ev_class AS oid, bool_or(d.refobjsubid = 0 OR a.attname = ANY($3)) AS uses
  FROM whole t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> t.oid
  LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
  GROUP BY r.ev_class
  UNION
  SELECT r.ev_class, v.uses
  FROM views v JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> v.oid),
-- what a function may name to read or write credentials
named AS (
  SELECT c.oid, lower(c.relname) AS name, '(^|[^[:alnum:]_$])' || regexp_replace(c.relname, '([^[:alnum:]_])', '\\\1', 'g') || '($|[^[:alnum:]_$])' AS pattern
  FROM pg_class c WHERE c.oid IN (SELECT oid FROM whole UNION SELECT oid FROM views WHERE uses))
SELECT json_build_object(
  'bypassing_me', (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
  'granted', (SELECT coalesce(json_agg(json_build_object(
      'holder', g.holder,
      'grantee', CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END,
      'grantor', CASE WHEN g.grantor <> t.relowner THEN pg_get_userbyid(g.grantor) END,
      'privileges', g.privileges,
      'columns', g.attributes) ORDER BY g.holder, g.grantee, g.grantor, g.partial), '[]')
    FROM granted g CROSS JOIN t),
  'users_reach', EXISTS (SELECT FROM rights g LEFT JOIN pg_roles r ON r.rolname IN ('anon', 'authenticated') AND pg_has_role(r.oid, g.grantee, 'USAGE')
      WHERE (g.grantee = 0 OR r.oid IS NOT NULL) AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')),
  'bypassing', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r CROSS JOIN t CROSS JOIN supabase
      WHERE r.rolbypassrls AND NOT r.rolsuper AND r.oid <> t.relowner AND r.rolname <> current_user
        AND NOT (supabase.here AND (r.rolname IN ('postgres', 'service_role') OR r.rolname LIKE 'supabase\_%'))
        AND (has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(r.oid, t.oid, 'DELETE'))),
  'owning', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r CROSS JOIN t
      WHERE r.rolname IN ('anon', 'authenticated') AND NOT r.rolsuper AND pg_has_role(r.oid, t.relowner, 'USAGE')),
  -- those that policies are for
  'policy_roles', (SELECT coalesce(json_agg(json_build_object(
      'name', CASE r.oid WHEN 0 THEN 'public' ELSE pg_get_userbyid(r.oid) END,
      'service', r.oid IN (SELECT oid FROM services),
      'anons', r.oid IN (SELECT oid FROM anons),
      'reaches', CASE r.oid
        WHEN 0 THEN EXISTS (SELECT FROM rights g WHERE g.grantee NOT IN (SELECT oid FROM services)
                            AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
        ELSE has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(r.oid, t.oid, 'DELETE') END)), '[]')
    FROM t CROSS JOIN (SELECT DISTINCT unnest(p.polroles) AS oid FROM pg_policy p JOIN t ON p.polrelid = t.oid) AS r),
  -- whom we can act as, of those that policies are for
  'actors', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r CROSS JOIN t
      WHERE pg_has_role(current_user, r.oid, 'MEMBER') AND NOT r.rolsuper AND NOT r.rolbypassrls
        AND (r.rolname IN ('anon', 'authenticated')
             OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND r.oid = ANY(p.polroles))
             OR EXISTS (SELECT FROM rights g WHERE g.grantee = r.oid))),
  'routines', (SELECT coalesce(json_agg(json_build_object(
      'signature', f.oid::regprocedure::text,
      'fixed_path', EXISTS (SELECT FROM unnest(f.proconfig) AS s WHERE s LIKE 'search\_path=%'),
      'open_path', EXISTS (SELECT FROM unnest(f.proconfig) AS s CROSS JOIN unnest(string_to_array(substr(s, 13), ',')) AS part
                           JOIN pg_namespace n ON n.nspname = btrim(part, ' "')
                           CROSS JOIN aclexplode(n.nspacl) AS g
                           WHERE s LIKE 'search\_path=%' AND g.privilege_type = 'CREATE' AND g.grantee IN (SELECT oid FROM ordinary)),
      -- one truth value, of nothing that the vault stores, and nothing is written
      'only_answers', f.prokind = 'f' AND NOT f.proretset AND f.prorettype = 'pg_catalog.bool'::regtype AND f.proallargtypes IS NULL
        AND f.prosrc <> '' AND f.prosrc !~* '\m(insert|update|delete|truncate|merge|execute|copy|call|perform|create|alter|drop|grant|set_config)\M'
        AND NOT EXISTS (SELECT FROM unnest($3) AS used WHERE strpos(lower(f.prosrc), lower(used)) > 0),
      'callers', (SELECT coalesce(json_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                  FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS g
                  WHERE f.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
                    AND g.privilege_type = 'EXECUTE' AND g.grantee <> f.proowner
                    AND (g.grantee IN (SELECT holder FROM outsiders) OR g.grantee IN (SELECT oid FROM anons)))
      ) ORDER BY f.oid::regprocedure::text), '[]')
    FROM pg_proc f JOIN pg_language l ON l.oid = f.prolang
    WHERE f.prosecdef AND l.lanname NOT IN ('internal', 'c')
      -- few texts have the name at all, and looking for it is cheap
      AND EXISTS (SELECT FROM named AS x WHERE CASE WHEN strpos(lower(f.prosrc), x.name) > 0 THEN f.prosrc ~* x.pattern END
           OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = x.oid))),
  'views', (SELECT coalesce(json_agg(json_build_object(
      'relation', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
      'materialized', c.relkind = 'm',
      'invoker', coalesce((SELECT o.option_value::bool FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'security_invoker'), false),
      'uses', v.uses,
      'readers', (SELECT coalesce(json_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                  FROM (SELECT g.* FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
                        UNION ALL SELECT g.* FROM pg_attribute a CROSS JOIN aclexplode(a.attacl) AS g WHERE a.attrelid = c.oid) AS g
                  WHERE g.grantee <> c.relowner AND g.grantee NOT IN (SELECT oid FROM services)
                    AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
      ) ORDER BY n.nspname, c.relname), '[]')
    FROM (SELECT oid, bool_or(uses) AS uses FROM views GROUP BY oid) v
    JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm')),
  -- tables of ours beside it, and its partitions, which the policies of the whole do not hold for
  'related_tables', (SELECT coalesce(json_agg(json_build_object(
      'relation', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
      'partition', p.oid IS NOT NULL,
      'row_security', c.relrowsecurity,
      'readers', (SELECT coalesce(json_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                  FROM (SELECT g.* FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
                        UNION ALL SELECT g.* FROM pg_attribute a CROSS JOIN aclexplode(a.attacl) AS g WHERE a.attrelid = c.oid) AS g
                  WHERE g.grantee <> c.relowner AND g.grantee NOT IN (SELECT oid FROM services)
                    AND (g.grantee IN (SELECT oid FROM ordinary) OR (NOT c.relrowsecurity AND (t.relrowsecurity OR p.oid IS NULL)))
                    AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
      ) ORDER BY n.nspname, c.relname), '[]')
    FROM t JOIN pg_class c ON c.oid <> t.oid AND c.relkind IN ('r', 'p', 'f') JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN partitions p ON p.oid = c.oid
    WHERE p.oid IS NOT NULL OR (c.relnamespace = t.relnamespace AND c.relname LIKE 'retell\_vault\_%')),
  'auth_uid_type', (SELECT format_type(p.prorettype, NULL) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN supabase
                    WHERE n.nspname = 'auth' AND p.proname = 'uid' AND p.pronargs = 0 AND supabase.here)
)::text FROM t
