-- What the card network makes of a request: test instruments as the industry uses them,
-- and the failures of its providers, country by country.
local random = require "random"

local rules = {}

---@class decision
---@field outcome "approved"|"declined"|"error"
---@field code? string
---@field status? integer        of an error
---@field late? boolean          the answer takes longer than anybody waits
---@field captures_late? boolean so does the answer to the capture
---@field refund_failures? integer so many refunds fail before one is made

local approved = { outcome = "approved" }
local failed = { outcome = "error", code = "processing_error", status = 503 }

local function declined(code)
  return { outcome = "declined", code = code }
end

local outcomes = {
  card = {
    ["4000000000000002"] = declined "card_declined",
    ["4000000000009995"] = declined "insufficient_funds",
    ["4000000000000119"] = failed,
    ["4000000000004087"] = { outcome = "approved", late = true },
    ["4000000000004095"] = { outcome = "approved", captures_late = true },
    ["4000000000005035"] = { outcome = "approved", refund_failures = 1 },
  },
  paypal = {
    ["declined@paypal.test"] = declined "account_restricted",
    ["error@paypal.test"] = failed,
  },
  bank_transfer = {
    ["DE14370400440000000002"] = declined "insufficient_funds",
    ["DE56370400440000000119"] = failed,
  },
}

-- How often a country's provider fails, and with what.
local providers = {
  US = { rate = 0.05, statuses = { 400, 500, 503 } },
  UK = { rate = 0.07, statuses = { 400, 404, 500 } },
  DE = { rate = 0.06, statuses = { 500, 503 } },
  FR = { rate = 0.08, statuses = { 400, 500, 503, 429 } },
  JP = { rate = 0.10, statuses = { 500, 503 } },
  BR = { rate = 0.15, statuses = { 400, 404, 500, 503 } },
  IN = { rate = 0.12, statuses = { 400, 500, 503 } },
}
providers.GB = providers.UK -- as ISO 3166 calls it

local codes = {
  [400] = "provider_rejected", [404] = "provider_not_found", [429] = "provider_busy",
  [500] = "provider_error", [503] = "provider_unavailable",
}

--- The outcome for an instrument: approved unless it is one of the test ones.
---@param method string
---@param identity string a card's number, an e-mail address or an IBAN
---@return decision
function rules.decide(method, identity)
  return outcomes[method][identity] or approved
end

--- A failure of the country's provider, as often as its table says; else nil. It charges
--- nothing.
---@param country? string
---@return decision?
function rules.failure(country)
  local provider = providers[country]
  if not provider or random.number() >= provider.rate then
    return nil
  end
  local status = provider.statuses[random.integer(1, #provider.statuses)]
  return { outcome = "error", code = codes[status], status = status }
end

return rules
