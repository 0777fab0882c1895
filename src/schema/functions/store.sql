
-- retell-vault: stores what was sealed elsewhere. p_record: its tokens, with one space between them.
-- p_plain: what goes into plain columns: field name -> value, null to clear the column.
#variable_conflict use_variable
DECLARE
  v_tokens jsonb;
  v_head text;
  v_version text;
  v_record_at text;
  v_rest jsonb;
  v_at text;
BEGIN
  IF p_user IS NULL<<no_tenant>> THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'no owner was given';
  END IF;
  IF p_record IS NULL OR pg_catalog.length(p_record) > <<longest>> THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a record is a text of at most <<longest>> characters';
  END IF;
  -- a body is the canonical base64url of 92 bytes and a multiple of 64
  IF EXISTS (SELECT FROM pg_catalog.unnest(pg_catalog.string_to_array(p_record, ' ')) AS e (token)
    CROSS JOIN LATERAL (SELECT pg_catalog.split_part(e.token, '.', 5)) AS b (body)
    CROSS JOIN LATERAL (SELECT pg_catalog.translate(b.body, '-_', '+/')) AS s (standard)
    WHERE CASE
      WHEN pg_catalog.length(e.token) > 16384 THEN true
      WHEN e.token !~ '^<<token>>$' THEN true
      WHEN pg_catalog.length(pg_catalog.split_part(e.token, '.', 4)) > 40 THEN true
      WHEN pg_catalog.length(b.body) % 4 = 1 THEN true
      ELSE (SELECT pg_catalog.length(d.bytes) <= 92 OR (pg_catalog.length(d.bytes) - 92) % 64 <> 0
          OR pg_catalog.rtrim(pg_catalog.translate(pg_catalog.encode(d.bytes, 'base64'), pg_catalog.chr(10), ''), '=') <> s.standard
        FROM (SELECT pg_catalog.decode(s.standard || pg_catalog.repeat('=', (4 - pg_catalog.length(b.body) % 4) % 4), 'base64')) AS d (bytes))
      END)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a record is tokens with one space between them',
      HINT = 'seal the credentials with retell-vault first';
  END IF;
  SELECT pg_catalog.jsonb_object_agg(pg_catalog.split_part(e.token, '.', 4), e.token) INTO v_tokens
    FROM pg_catalog.unnest(pg_catalog.string_to_array(p_record, ' ')) AS e (token);
  IF (SELECT pg_catalog.count(*) FROM pg_catalog.jsonb_object_keys(v_tokens) AS k)
    <> pg_catalog.cardinality(pg_catalog.string_to_array(p_record, ' ')) THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a record holds every field once';
  END IF;
  IF NOT v_tokens ? 'record' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a record holds a record token';
  END IF;
  SELECT pg_catalog.min(pg_catalog.substr(e.value, 5, 25)) INTO v_head FROM pg_catalog.jsonb_each_text(v_tokens) AS e
    HAVING pg_catalog.count(DISTINCT pg_catalog.substr(e.value, 5, 25)) = 1;
  IF v_head IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the tokens of a record have one key and one version';
  END IF;
  v_version := pg_catalog.substr(v_head, 10);
  -- the first 48 bits are milliseconds
  IF ('x' || pg_catalog.substr(v_version, 1, 12))::pg_catalog."bit"(48)::pg_catalog.int8
    > (extract(epoch FROM pg_catalog.now()) * 1000)::pg_catalog.int8 + 86400000
  THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the version is more than 24 hours ahead of the database';
  END IF;
  p_plain := coalesce(p_plain, '{}');
  IF pg_catalog.jsonb_typeof(p_plain) <> 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'plain values must be an object of field names and values';
  END IF;
  SELECT pg_catalog.min(e.field) INTO v_at FROM pg_catalog.jsonb_each(p_plain) AS e (field, value)
    WHERE v_tokens ? e.field OR CASE
      WHEN e.field = ANY (ARRAY[<<plain_texts>>]::pg_catalog.text[]) THEN pg_catalog.jsonb_typeof(e.value) NOT IN ('string', 'null')
      WHEN e.field = ANY (ARRAY[<<plain_objects>>]::pg_catalog.text[]) THEN pg_catalog.jsonb_typeof(e.value) NOT IN ('object', 'null')
      ELSE true END;
  IF v_at IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
      MESSAGE = 'a plain value is not of a field with a column of its own, is of the wrong type, or is there as a token too';
  END IF;
  v_rest := v_tokens - ARRAY[<<dedicated>>]::pg_catalog.text[] - 'record';
  IF v_rest = '{}' THEN
    SELECT f.field INTO v_record_at FROM pg_catalog.unnest(ARRAY[<<unbounded>>]::pg_catalog.text[]) WITH ORDINALITY AS f (field, at)
      WHERE v_tokens ? f.field ORDER BY f.at LIMIT 1;
  END IF;
  IF v_record_at IS NULL THEN
    v_rest := v_rest || pg_catalog.jsonb_build_object('record', v_tokens -> 'record');
  END IF;

  -- twice: somebody may create the row between the two statements
  FOR v_round IN 1..2 LOOP
    UPDATE <<relation>> AS t SET <<assignments>>
      WHERE <<owner>> AND (<<foreign>>) IS NOT TRUE AND (<<unsettled>>) IS NOT TRUE AND <<newest>> < v_version COLLATE "C";
    IF FOUND THEN
      RETURN v_version;
    END IF;
    SELECT CASE WHEN (<<foreign>>) IS TRUE THEN 'the row holds text that is no token'
        WHEN (<<unsettled>>) IS TRUE THEN 'a plain column holds a value that p_plain does not name: give it there, or null to clear it'
        ELSE 'the row holds this version or a newer one' END
      INTO v_at FROM <<relation>> AS t
      WHERE <<owner>> AND ((<<foreign>>) IS TRUE OR (<<unsettled>>) IS TRUE OR <<newest>> >= v_version COLLATE "C") LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = v_at, HINT = 'load it with retell-vault first';
    END IF;<<create>>
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'the row is not there, or may not be written';
END
