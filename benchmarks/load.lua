-- wrk script: POST with a fresh seed each time; at the end one RESULT line and the latencies.
local body = os.getenv("LOAD_BODY")          -- holds one %d, the seed
local path = os.getenv("LOAD_PATH")
local accept = os.getenv("LOAD_ACCEPT") or ""
local seed = tonumber(os.getenv("LOAD_SEED"))
local head

function init(args)
   local headers = {["Content-Type"] = "application/json", ["Host"] = "127.0.0.1"}
   if accept ~= "" then headers["Accept"] = accept end
   -- The head is made once, with the length of this body: every seed must be as wide.
   head = wrk.format("POST", path, headers, string.format(body, seed))
   head = head:sub(1, head:find("\r\n\r\n") + 3)
end

function request()
   seed = seed + 1
   return head .. string.format(body, seed)
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format(
      '\nRESULT {"requests":%d,"duration_us":%d,"errors":%d,"client_cpu_s":%.3f}\n',
      summary.requests, summary.duration,
      e.connect + e.read + e.write + e.timeout + e.status, os.clock()))
   io.flush()                                -- the driver reads the clocks now
   for i = 1, #latency do
      local microseconds, count = latency(i)
      io.write(string.format("%d %d\n", microseconds, count))
   end
end
