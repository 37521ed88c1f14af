-- For wrk: arguments after "--" are how many requests to pipeline, and the size of the first body.
-- Sends GETs of growing bodies and POSTs in turn, as many at a time as asked, and checks each response. With a single
-- connection the responses must be in the order of the requests; with several only their kinds are known.
-- At the end one line of JSON tells what wrk and this script have counted.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  depth, base, in_order = tonumber(args[1]), tonumber(args[2]), args[3] == "in-order"
  made, wrong, right = 0, 0, 0
  wanted, first = {}, 0
end

local function one()
  made = made + 1
  local size = base + made % 100
  if in_order then wanted[made] = size end
  if made % 3 == 0 then
    local body = string.rep("y", size)
    return wrk.format("POST", "/echo", { ["X-Number"] = made }, body)
  end
  return wrk.format("GET", "/bytes/" .. size)
end

function request()
  local pieces = {}
  for _ = 1, depth do pieces[#pieces + 1] = one() end
  if not asked then
    -- wrk makes and throws away the first, to see how many requests there are in it.
    asked, made, wanted = true, 0, {}
  end
  return table.concat(pieces)
end

function response(status, headers, body)
  local good = status == 200 and (body:match("^x*$") or body:match("^y*$"))
  if in_order then
    first = first + 1
    local letter = first % 3 == 0 and "y" or "x"
    good = good and body == string.rep(letter, wanted[first])
    wanted[first] = nil
  else
    good = good and #body >= base and #body < base + 100
  end
  if good then right = right + 1 else wrong = wrong + 1 end
end

function done(summary, latency, requests)
  local right, wrong = 0, 0
  for _, thread in ipairs(threads) do
    right = right + thread:get("right")
    wrong = wrong + thread:get("wrong")
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"right": %d, "wrong": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    right, wrong, errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
