-- The SQL of notifications.
local db = require "db"

local store = {}

local columns = [[id, seq, user_id, order_id, type, template, recipient, subject, body,
                  status, attempts, created_at, sent_at, request_hash]]

--- Writes a notification: its row, or nil when it was there (the same event and type, or
--- the same key). A second delivery of an event waits here until the first has committed
--- or rolled back. For `held_s` the row is its writer's to send; then the sender's.
---@param tx tx
---@param new table
---@param held_s number
---@return table? row
function store.add(tx, new, held_s)
  return tx:one([[
    insert into notifications (id, event_id, user_id, order_id, type, template, recipient,
      subject, body, status, traceparent, tracestate, requested_by, idempotency_key,
      request_hash, next_attempt_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15,
      case when $10 = 'queued' then now() + make_interval(secs => $16) end)
    on conflict do nothing returning ]] .. columns,
    new.id, new.event_id, new.user_id, new.order_id, new.type, new.template,
    new.recipient, new.subject, new.body, new.status, new.traceparent, new.tracestate,
    new.requested_by, new.idempotency_key, new.request_hash, held_s)
end

--- What was asked for with this key.
function store.asked(requested_by, key)
  return db.one("select " .. columns .. [[ from notifications
    where requested_by = $1 and idempotency_key = $2]], requested_by, key)
end

--- The newest first, those before the cursor; one more than the limit says there are
--- more.
---@param user_id string
---@param filter {type?: string, status?: string, order_id?: string}
---@param before? integer
---@param limit integer
function store.list(user_id, filter, before, limit)
  return db.query("select " .. columns .. [[ from notifications
    where user_id = $1 and ($2::bigint is null or seq < $2)
      and ($3::text is null or type = $3) and ($4::text is null or status = $4)
      and ($5::text is null or order_id = $5)
    order by seq desc limit $6]],
    user_id, before, filter.type, filter.status, filter.order_id, limit)
end

function store.find(id)
  return db.one("select " .. columns .. " from notifications where id = $1", id)
end

--- Up to so many whose time has come. For `held_s` they are the caller's to send;
--- replicas that ask at the same time get others.
---@param limit integer
---@param held_s number
function store.due(limit, held_s)
  return db.query([[
    update notifications set next_attempt_at = now() + make_interval(secs => $2)
    where id in (select id from notifications
                 where status = 'queued' and next_attempt_at <= now()
                 order by next_attempt_at limit $1 for update skip locked)
    returning id, type, template, recipient, subject, body, attempts, traceparent,
              tracestate]], limit, held_s)
end

--- It arrived. Nothing when it was settled meanwhile; whoever gets the row counts it.
function store.sent(id)
  return db.one([[
    update notifications set status = 'sent', attempts = attempts + 1, sent_at = now(),
                             next_attempt_at = null, last_error = null
    where id = $1 and status = 'queued' returning id]], id)
end

--- An attempt failed. Guarded by how many there were: somebody else may have taken the
--- row over, and then it is no longer ours to put off.
function store.postpone(id, attempts, delay_s, why)
  return db.one([[
    update notifications set attempts = attempts + 1, last_error = $4,
                             next_attempt_at = now() + make_interval(secs => $3)
    where id = $1 and status = 'queued' and attempts = $2 returning id]],
    id, attempts, delay_s, why)
end

--- The last attempt failed.
function store.give_up(id, attempts, why)
  return db.one([[
    update notifications set status = 'failed', attempts = attempts + 1, last_error = $3,
                             next_attempt_at = null
    where id = $1 and status = 'queued' and attempts = $2 returning id]],
    id, attempts, why)
end

--- How many are not settled.
function store.queued()
  return db.one("select count(*) as n from notifications where status = 'queued'").n
end

--- What a customer wants; nil when he never said.
function store.preferences(user_id)
  return db.one([[select email, sms, phone, version from preferences where user_id = $1]],
    user_id)
end

--- Changes them, if they still are the version that was seen; nil when they are not.
function store.prefer(user_id, wanted, seen)
  return db.tx(function(tx)
    tx:query("insert into preferences (user_id) values ($1) on conflict do nothing",
      user_id)
    return tx:one([[
      update preferences set email = $2, sms = $3, phone = $4, version = version + 1,
                             updated_at = now()
      where user_id = $1 and version = $5 returning email, sms, phone, version]],
      user_id, wanted.email, wanted.sms, wanted.phone, seen)
  end)
end

--- The mock outside world keeps a message, once.
function store.deliver(channel, message)
  db.query([[
    insert into mock_deliveries (message_id, channel, recipient, subject, body)
    values ($1, $2, $3, $4, $5) on conflict (message_id) do nothing]],
    message.id, channel, message.recipient, message.subject, message.body)
end

--- What the mock outside world has kept for longer than so many days.
function store.forget(days)
  db.query([[delete from mock_deliveries
             where delivered_at < now() - make_interval(days => $1)]], days)
end

return store
