-- The SQL of notifications.
local db = require "db"

local store = {}

--- Takes the event, inside the transaction that sends it: nil when it was told already. A
--- second delivery waits here until the first has committed or rolled back.
function store.add(tx, notification)
  return tx:one([[
    insert into notifications (id, event_id, user_id, order_id, type, template, recipient,
                               subject, body, status)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'sent')
    on conflict (event_id) do nothing returning id]],
    notification.id, notification.event_id, notification.user_id, notification.order_id,
    notification.type, notification.template, notification.recipient,
    notification.subject, notification.body)
end

local columns = [[id, seq, user_id, order_id, type, template, recipient, subject, body,
                  status, created_at]]

--- The newest first, those before the cursor; one more than the limit says there are
--- more.
function store.list(user_id, before, limit)
  return db.query("select " .. columns .. [[ from notifications
    where user_id = $1 and ($2::bigint is null or seq < $2) order by seq desc limit $3]],
    user_id, before or db.null, limit + 1)
end

function store.find(id)
  return db.one("select " .. columns .. " from notifications where id = $1", id)
end

return store
