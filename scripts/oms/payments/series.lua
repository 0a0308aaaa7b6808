-- The series of payments. A payment counts once as what it ends as, and before that once
-- as uncertain, if it ever was: then the two together tell how often nobody knew.
local clock = require "clock"
local instrument = require "instrument"
local metrics = require "metrics"

local series = {}

local processed = metrics.counter("payments_processed_total",
  "Payments processed, by outcome and method.", { "status", "method" })
local amount = metrics.counter("payment_amount_total",
  "Money captured, in minor units, by currency.", { "currency" })
local by_country = metrics.counter("payments_by_country_total",
  "Payments processed, by the payer's country and outcome.", { "country", "status" })
local refunds = metrics.counter("refunds_processed_total", "Refunds processed.")
local latency = metrics.histogram("payment_gateway_latency_seconds",
  "Time the acquirer took to answer, or we to give up.", nil,
  { 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2, 5 })
local quantiles = metrics.summary("payment_gateway_latency_quantiles_seconds",
  "The same times as quantiles.")

series.currencies = { "USD", "EUR", "GBP" }

local countries = {
  "US", "UK", "DE", "FR", "JP", "BR", "IN", "CA", "AU", "ES", "IT", "NL", "other",
  "unknown",
}
local label_of = { GB = "UK" } -- as ISO 3166 calls it
for _, country in ipairs(countries) do
  label_of[country] = country
end

for _, status in ipairs { "captured", "declined", "failed", "uncertain" } do
  for _, method in ipairs(instrument.methods) do
    processed:zero(status, method)
  end
  for _, country in ipairs(countries) do
    by_country:zero(country, status)
  end
end
for _, currency in ipairs(series.currencies) do
  amount:zero(currency)
end

--- A payment became this; settled is what the store gave when it wrote it.
---@param settled table
function series.payment(settled)
  if settled.status == "uncertain" and not settled.newly_uncertain then
    return
  end
  processed:inc(settled.status, settled.method)
  by_country:inc(label_of[settled.country or "unknown"] or "other", settled.status)
  if settled.status == "captured" then
    amount:add(settled.amount, settled.currency)
  end
end

--- Money went back.
function series.refund()
  refunds:inc()
end

--- Runs a call to the acquirer and observes the seconds it took, also when it raises.
---@param fn function
---@return any result
---@return any why
function series.time(fn)
  local started = clock.mono()
  local ok, result, why = pcall(fn)
  local took = clock.mono() - started
  latency:observe(took)
  quantiles:observe(took)
  if not ok then
    error(result, 0)
  end
  return result, why
end

return series
