-- For wrk: each connection waits between its requests, so that all together ask RATE times a second
-- (bench/serve_load.py sets RATE and CONNECTIONS). Asks for the shapes of PATHS in turn.
local rate = tonumber(os.getenv("RATE") or "0")
local connections = tonumber(os.getenv("CONNECTIONS") or "1")
local paths = {}
for path in string.gmatch(os.getenv("PATHS") or "/healthz", "%S+") do paths[#paths + 1] = path end
local at = 0

function delay()
  if rate == 0 then return 0 end
  local mean = 1000 * connections / rate
  return math.floor(mean * (0.5 + math.random()) + 0.5)
end

function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end

function done(summary, latency, requests)
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.3f, "errors": %d, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "p999_ms": %.3f, "max_ms": %.3f}\n',
    summary.requests, summary.duration / 1e6,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000,
    latency:percentile(99.9) / 1000, latency.max / 1000))
end
