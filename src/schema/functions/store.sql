
-- retell-vault: stores what was sealed elsewhere. p_tokens: the name of each field -> its token.
#variable_conflict use_variable
DECLARE
  v_head text;
  v_version text;
  v_rest jsonb;
  v_at text;
BEGIN
  IF p_user IS NULL<<no_tenant>> THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'no owner was given';
  END IF;
  IF pg_catalog.jsonb_typeof(p_tokens) IS DISTINCT FROM 'object' THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'tokens must be an object of field names and tokens';
  END IF;
  IF NOT p_tokens ?& ARRAY[<<secrets>>] THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a record holds a token for each of <<secret_words>>';
  END IF;
  -- a body is the canonical base64url of 92 bytes and a multiple of 64
  IF EXISTS (SELECT FROM pg_catalog.jsonb_each(p_tokens) AS e (field, token)
    CROSS JOIN LATERAL (SELECT pg_catalog.split_part(e.token #>> '{}', '.', 5)) AS b (body)
    CROSS JOIN LATERAL (SELECT pg_catalog.translate(b.body, '-_', '+/')) AS s (standard)
    WHERE CASE
      WHEN e.field <> ALL (ARRAY[<<fields>>]) OR pg_catalog.jsonb_typeof(e.token) <> 'string' THEN true
      WHEN pg_catalog.length(e.token #>> '{}') > 16384 THEN true
      WHEN (e.token #>> '{}') !~ '^<<token>>$' THEN true
      WHEN pg_catalog.split_part(e.token #>> '{}', '.', 4) <> e.field THEN true
      WHEN pg_catalog.length(b.body) % 4 = 1 THEN true
      ELSE (SELECT pg_catalog.length(d.bytes) <= 92 OR (pg_catalog.length(d.bytes) - 92) % 64 <> 0
          OR pg_catalog.rtrim(pg_catalog.translate(pg_catalog.encode(d.bytes, 'base64'), pg_catalog.chr(10), ''), '=') <> s.standard
        FROM (SELECT pg_catalog.decode(s.standard || pg_catalog.repeat('=', (4 - pg_catalog.length(b.body) % 4) % 4), 'base64')) AS d (bytes))
      END)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'every value must be one token of its field',
      HINT = 'seal the configuration with retell-vault first';
  END IF;
  SELECT pg_catalog.min(pg_catalog.substr(e.value, 5, 25)) INTO v_head FROM pg_catalog.jsonb_each_text(p_tokens) AS e
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
  v_rest := p_tokens - ARRAY[<<dedicated>>]::pg_catalog.text[];

  -- twice: somebody may create the row between the two statements
  FOR v_round IN 1..2 LOOP
    UPDATE <<relation>> AS t SET <<assignments>>
      WHERE <<owner>> AND (<<foreign>>) IS NOT TRUE AND <<newest>> < v_version COLLATE "C";
    IF FOUND THEN
      RETURN v_version;
    END IF;
    SELECT CASE WHEN (<<foreign>>) IS TRUE THEN 'the row holds text that is no token' ELSE 'the row holds this version or a newer one' END
      INTO v_at FROM <<relation>> AS t WHERE <<owner>> AND ((<<foreign>>) IS TRUE OR <<newest>> >= v_version COLLATE "C") LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = v_at, HINT = 'load it with retell-vault first';
    END IF;
    INSERT INTO <<relation>> AS t (<<columns>>) VALUES (<<values>>) ON CONFLICT<<target>> DO NOTHING;
    IF FOUND THEN
      RETURN v_version;
    END IF;
  END LOOP;
  RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = 'the row is not there, or may not be written';
END
