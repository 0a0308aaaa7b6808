-- What the card network makes of a card: test numbers as the industry uses them.
local rules = {}

local outcomes = {
  ["4000000000000002"] = { outcome = "declined", code = "card_declined" },
  ["4000000000009995"] = { outcome = "declined", code = "insufficient_funds" },
  ["4000000000000119"] = { outcome = "error", code = "processing_error" },
}

--- The outcome for a number: approved unless it is one of the test cards.
---@param number string
---@return {outcome: string, code: string?}
function rules.decide(number)
  return outcomes[number] or { outcome = "approved" }
end

return rules
