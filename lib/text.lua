-- Text as PostgreSQL and JSON take it: UTF-8, counted in characters.
local text = {}

local sequences = {
  "[\194-\223][\128-\191]",
  "\224[\160-\191][\128-\191]",
  "\237[\128-\159][\128-\191]",
  "[\225-\236\238\239][\128-\191][\128-\191]",
  "\240[\144-\191][\128-\191][\128-\191]",
  "[\241-\243][\128-\191][\128-\191][\128-\191]",
  "\244[\128-\143][\128-\191][\128-\191]",
}

--- Whether the bytes are UTF-8 without NUL.
---@param bytes string
---@return boolean
function text.is_clean(bytes)
  if bytes:find("[\128-\255]") then
    for _, sequence in ipairs(sequences) do
      bytes = bytes:gsub(sequence, ".")
    end
  end
  return not bytes:find("\0", 1, true) and not bytes:find("[\128-\255]")
end

--- How many characters there are.
---@param clean string
---@return integer
function text.length(clean)
  return #clean:gsub("[\128-\191]", "")
end

return text
