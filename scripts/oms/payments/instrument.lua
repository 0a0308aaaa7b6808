-- What a payment is paid with: a card, a PayPal account, a bank account. What of it is
-- valid, what is kept, what the acquirer gets. A whole number of a card or an account
-- goes to the acquirer and nowhere else.
local card = require "card"
local crypto = require "crypto"
local db = require "db"
local iban = require "iban"
local json = require "json"
local jwt = require "jwt"
local shape = require "shape"

local instrument = {}

instrument.methods = { "card", "paypal", "bank_transfer" }

--- The members of a request, one for each method.
instrument.shapes = {
  card = shape.optional(shape.object {
    number = shape.text(12, 19, "^%d+$", "12 to 19 digits"),
    exp_month = shape.integer(1, 12),
    exp_year = shape.integer(2000, 2100),
    cvc = shape.text(3, 4, "^%d+$", "3 or 4 digits"),
  }),
  paypal = shape.optional(shape.object { email = shape.email }),
  bank_transfer = shape.optional(shape.object {
    iban = shape.text(15, 42, "^[%w ]+$", "an IBAN"),
  }),
}

--- The members of an answer.
instrument.views = {
  card = shape.optional(shape.object {
    brand = shape.text(1, 20), last4 = shape.text(4, 4),
  }),
  paypal = shape.optional(shape.object { email = shape.text(1, 254) }),
  bank_transfer = shape.optional(shape.object {
    country = shape.text(2, 2), last4 = shape.text(4, 4),
  }),
}

local checks = { card = card.problems }

function checks.paypal()
  return {} -- the shape has seen it all
end

function checks.bank_transfer(fields)
  if iban.is_valid(iban.plain(fields.iban)) then
    return {}
  end
  return { { field = "bank_transfer.iban", message = "is not a valid IBAN" } }
end

--- Everything wrong with the instrument of a request that its shape cannot see.
---@param body table
---@return {field: string, message: string}[]
function instrument.problems(body)
  local errors = {}
  for _, method in ipairs(instrument.methods) do
    if method ~= body.method and body[method] then
      errors[#errors + 1] = {
        field = method, message = "does not belong to the method " .. body.method,
      }
    elseif method == body.method and not body[method] then
      errors[#errors + 1] = { field = method, message = "is required" }
    end
  end
  if errors[1] then
    return errors
  end
  return checks[body.method](body[body.method])
end

-- Enough for its owner to know it by.
local function masked(email)
  return (email:gsub("^(.).*@", "%1***@"))
end

--- The columns that a payment keeps.
---@param body table
---@return table
function instrument.kept(body)
  local kept = {
    card_brand = db.null, card_last4 = db.null, paypal_email = db.null,
    iban_country = db.null, iban_last4 = db.null,
  }
  if body.method == "card" then
    kept.card_brand = card.brand(body.card.number)
    kept.card_last4 = body.card.number:sub(-4)
  elseif body.method == "paypal" then
    kept.paypal_email = masked(body.paypal.email)
  else
    local plain = iban.plain(body.bank_transfer.iban)
    kept.iban_country, kept.iban_last4 = plain:sub(1, 2), plain:sub(-4)
  end
  return kept
end

--- The same as others see it.
---@param row table
---@return table
function instrument.view(row)
  return {
    card = row.card_last4 and { brand = row.card_brand, last4 = row.card_last4 },
    paypal = row.paypal_email and { email = row.paypal_email },
    bank_transfer = row.iban_last4 and {
      country = row.iban_country, last4 = row.iban_last4,
    },
  }
end

--- What the acquirer gets of a request.
---@param body table
---@return table
function instrument.sent(body)
  local sent = { method = body.method, paypal = body.paypal }
  if body.card then
    sent.card = {
      number = body.card.number, brand = card.brand(body.card.number),
      cvc = body.card.cvc, exp_month = body.card.exp_month, exp_year = body.card.exp_year,
    }
  elseif body.bank_transfer then
    sent.bank_transfer = { iban = iban.plain(body.bank_transfer.iban) }
  end
  return sent
end

local function identity(body)
  if body.card then
    return body.card.number:sub(-4) .. "/" .. body.card.exp_month .. "/"
      .. body.card.exp_year
  end
  return body.paypal and body.paypal.email or iban.plain(body.bank_transfer.iban)
end

--- What makes two requests the same, as a digest that nobody can guess back without the
--- lab's secret. Of a card no more goes into it than is kept.
---@param body table
---@return string
function instrument.fingerprint(body)
  local key = crypto.hmac_sha256(jwt.secret(), "fingerprints of payments")
  return crypto.hex(crypto.hmac_sha256(key, json.encode(json.array {
    body.order_id, body.customer_id, body.amount, body.currency, body.method,
    body.country or "", identity(body),
  })))
end

return instrument
