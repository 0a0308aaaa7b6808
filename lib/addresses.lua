-- Addresses of an upstream that has several, "http://a:8001,http://b:8001": which to ask
-- first, and which then. It is left to chance: turns would give one address all first
-- calls of a handler that makes two. One that could not be reached is last for a second:
-- a replica that is down costs little, and is found when it is back.
local clock = require "clock"
local random = require "random"

local addresses = {}

local rest_s = 1
local lists, resting = {}, {}

local function list_of(text)
  if not lists[text] then
    local list = {}
    for part in text:gmatch("[^,%s]+") do
      list[#list + 1] = part:match("^(.-)/*$")
    end
    lists[text] = list
  end
  return lists[text]
end

--- All of them, once each, in the order to ask them in.
---@param text string
---@return string[] urls
function addresses.of(text)
  local list = list_of(text)
  local start = #list > 1 and random.integer(0, #list - 1) or 0
  local now, order, tired = clock.mono(), {}, {}
  for i = 1, #list do
    local url = list[(start + i - 1) % #list + 1]
    local to = (resting[url] or now) > now and tired or order
    to[#to + 1] = url
  end
  for _, url in ipairs(tired) do
    order[#order + 1] = url
  end
  return order
end

--- It could not be reached.
---@param url string
function addresses.failed(url)
  resting[url] = clock.mono() + rest_s
end

--- It answered.
---@param url string
function addresses.answered(url)
  resting[url] = nil
end

return addresses
