-- Requests for wrk with a fresh x-ms-client-request-id in each, as the SDKs send them.

local before, number

function init(_)
  math.randomseed(os.time())
  local fixed = math.random(0, 0x7fffffff)
  before = wrk.format():sub(1, -3) .. string.format("x-ms-client-request-id: %08x-9c52-4e7d-8a3e-", fixed)
  number = 0
end

function request()
  number = number + 1
  return before .. string.format("%012x\r\n\r\n", number)
end
