"""What runs inside Redis, and the keys that it uses. Every key has a time to live.

The keys of a session begin with ``chatbox:1:{<session id>}:``

    nodes   sorted set: node to when it stops listening (ms of Redis's clock)
    at      newest position known
    log     list: ``t<answer id>|<sealed turn>``, then a ``<seq>|<sealed piece>`` for each piece
    lease   ``<answer id> <node> <line>``: the holder, and the number of its line to Redis

A node gets its messages on the channel ``chatbox:1:node:<node>``. A script tells every listening node but the caller's
own, which learns all it needs from the reply. Messages are described in ``codec``.
"""

from __future__ import annotations

from hashlib import sha1
from typing import cast

import hiredis
import msgspec

PREFIX = "chatbox:1:"

Argument = str | bytes | int


class Script:
    """A Lua script, called by the hash of its text."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: tuple[str, ...], *arguments: Argument) -> tuple[Argument, ...]:
        return "EVALSHA", self.sha, len(keys), *keys, *arguments


def packed(command: tuple[Argument, ...]) -> bytes:
    """A command in Redis's protocol."""
    return cast("bytes", hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub knows tuples of one only


class Keys(msgspec.Struct, frozen=True):
    """The keys of a session."""

    nodes: str
    at: str
    log: str
    lease: str

    @staticmethod
    def of(session_id: str) -> Keys:
        base = f"{PREFIX}{{{session_id}}}:"
        return Keys(f"{base}nodes", f"{base}at", f"{base}log", f"{base}lease")

    @property
    def all(self) -> tuple[str, str, str, str]:
        return self.nodes, self.at, self.log, self.lease


BORN = f"{PREFIX}born"


def channel(node: str) -> str:
    return f"{PREFIX}node:{node}"


def count_key(kind: str, name: str, key: str) -> str:
    return f"{PREFIX}{kind}:{name}:{key}"


_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_TELL = f"""
local function tell(nodes, own, message)
  for _, node in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
    if node ~= own then redis.call('PUBLISH', '{PREFIX}node:' .. node, message) end
  end
end
"""

# A position that is no safe integer was not written by us: it counts as none.
_POSITION = """
local function position(at)
  local found = tonumber(redis.call('GET', at)) or 0
  return (found >= 0 and found < 2^53) and found or 0
end
local function raise(at, to, keep)
  local reached = math.max(position(at), to)
  redis.call('SET', at, string.format('%.0f', reached), 'PX', keep)
  return reached
end
"""

_LOG = """
local function answer_of(log)
  local first = redis.call('LINDEX', log, 0)
  return first and first:match('^t([^|]*)|')
end
local function last_of(log)
  local last = redis.call('LINDEX', log, -1)
  return last and last:match('^(%d+)|') or '0'
end
"""

# A lease is renewed on a newer line only: what an older one still has under way comes too late.
_LEASE = """
local function owner(holder)
  local who, line = holder:match('^(.*) (%d+)$')
  return who or holder, tonumber(line) or 0
end
local function mine(held, holder)
  local held_by, held_on = owner(held)
  local who, line = owner(holder)
  return held_by == who and held_on <= line
end
"""

# What is too big for the channels has an empty body: the others are told how far the session has come.
_BEHIND = """
local function message_of(session, kind, body, reached)
  if body == '' then return 'b' .. session .. string.format('%.0f', reached) end
  return kind .. session .. body
end
"""

AGE = Script(f"""{_NOW}
local born = tonumber(redis.call('GET', KEYS[1]))
if not born or born > now then born = now end
redis.call('SET', KEYS[1], string.format('%.0f', born), 'PX', ARGV[1])
return now - born
""")
"""KEYS born; ARGV keep → for how many ms this Redis has had its data, as far as anyone remembers."""

LISTEN = Script(f"""{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local new = redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return new
""")
"""KEYS nodes; ARGV node, life → 1 when the node was not listening."""

TELL = Script(f"""{_TELL}
tell(KEYS[1], ARGV[1], ARGV[2])
return 1
""")
"""KEYS nodes; ARGV node, message."""

ENTRY = Script(f"""{_TELL}{_POSITION}{_LOG}{_BEHIND}
local after = last_of(KEYS[3])
local reached = raise(KEYS[2], tonumber(ARGV[3]), ARGV[4])
local body = ARGV[5] == '' and '' or after .. '|' .. ARGV[5]
tell(KEYS[1], ARGV[1], message_of(ARGV[2], 'e', body, reached))
return after
""")
"""KEYS nodes, at, log; ARGV node, session, position, keep, sealed entry → the position of the piece before it."""

KNOWN = Script(f"""{_POSITION}
if ARGV[1] ~= '0' then raise(KEYS[1], tonumber(ARGV[1]), ARGV[2]) end
if ARGV[3] == '0' then return {{}} end
return redis.call('LRANGE', KEYS[2], 0, -1)
""")
"""KEYS at, log; ARGV position, keep, whether the log is wanted → the log."""

ACQUIRE = Script(f"""{_LEASE}
local held = redis.call('GET', KEYS[1])
if held and not mine(held, ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")
"""KEYS lease; ARGV holder, life → 0 when someone else has it."""

BEGIN = Script(f"""{_TELL}{_POSITION}
local held = redis.call('GET', KEYS[4])
if held ~= ARGV[3] then return held and 0 or -1 end
redis.call('DEL', KEYS[3])
redis.call('RPUSH', KEYS[3], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
tell(KEYS[1], ARGV[1], 't' .. ARGV[2] .. ARGV[6])
return raise(KEYS[2], tonumber(ARGV[4]), ARGV[5])
""")
"""KEYS nodes, at, log, lease; ARGV node, session, holder, position, keep, turn → the newest position; 0 when someone
else has the lease, -1 when nobody has."""

PUSH = Script(f"""{_TELL}{_POSITION}{_BEHIND}
local held = redis.call('GET', KEYS[4])
if held ~= ARGV[3] then return held and 0 or -1 end
local seq = math.max(position(KEYS[2]), tonumber(ARGV[4])) + 1
local text = string.format('%.0f', seq)
local piece = text .. '|' .. ARGV[7]
if redis.call('RPUSHX', KEYS[3], piece) == 0 then return -1 end
redis.call('SET', KEYS[2], text, 'PX', ARGV[5])
local body = #piece > tonumber(ARGV[8]) and '' or ARGV[6] .. piece
tell(KEYS[1], ARGV[1], message_of(ARGV[2], 'p', body, seq))
return seq
""")
"""KEYS nodes, at, log, lease; ARGV node, session, holder, newest position here, keep, answer, sealed piece, most bytes
of a message → its position; 0 when someone else has the lease, -1 when the lease or the log is lost."""

RENEW = Script(f"""{_LEASE}{_LOG}
local held = redis.call('GET', KEYS[3])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local status = held and 0 or -1
if held and mine(held, ARGV[1]) then
  redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
  status = 1
end
return {{status, answer_of(KEYS[2]) == ARGV[4] and redis.call('LLEN', KEYS[2]) or 0, last_of(KEYS[2])}}
""")
"""KEYS at, log, lease; ARGV holder, life, keep, answer → 1 (held), 0 (someone else's) or -1 (nobody's); the rows of the
answer's log; the newest piece."""

MEND = Script(f"""{_TELL}{_POSITION}{_LEASE}{_BEHIND}
local held = redis.call('GET', KEYS[4])
if held and not mine(held, ARGV[3]) then return 0 end
redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[4])
if #ARGV == 7 then return 1 end
if ARGV[7] == '0' then redis.call('DEL', KEYS[3]) end
if redis.call('LLEN', KEYS[3]) ~= tonumber(ARGV[7]) then return -1 end
for i = 8, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[i]) end
redis.call('PEXPIRE', KEYS[3], ARGV[5])
tell(KEYS[1], ARGV[1], message_of(ARGV[2], '', '', raise(KEYS[2], tonumber(ARGV[6]), ARGV[5])))
return 1
""")
"""KEYS nodes, at, log, lease; ARGV node, session, holder, life, keep, position, rows to keep (0: none), rows… → 0 when
someone else has the lease, -1 when there are other rows. Puts back what Redis lost of an answer, or never got."""

FINISH = Script(f"""{_LEASE}{_LOG}
local held = redis.call('GET', KEYS[2])
if held and mine(held, ARGV[1]) then redis.call('DEL', KEYS[2]) end
if answer_of(KEYS[1]) == ARGV[2] then redis.call('DEL', KEYS[1]) end
return 1
""")
"""KEYS log, lease; ARGV holder, answer."""

HIT = Script("""
local time = redis.call('TIME')
local now, window = time[1] * 1000000 + time[2], ARGV[2] * 1000
local first = tonumber(redis.call('LINDEX', KEYS[1], 0))
while first and (first <= now - window or first > now) do
  redis.call('LPOP', KEYS[1])
  first = tonumber(redis.call('LINDEX', KEYS[1], 0))
end
if first and redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[1]) then return first + window - now end
redis.call('RPUSH', KEYS[1], string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 0
""")
"""KEYS hits; ARGV limit, window → 0 when counted, else the µs until one will be. Hits of the future are those of a
clock that was set back."""

ENTER = Script(f"""{_NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local limit = tonumber(ARGV[1])
if limit > 0 and not redis.call('ZSCORE', KEYS[1], ARGV[3]) and redis.call('ZCARD', KEYS[1]) >= limit then return 0 end
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), ARGV[2]))
return 1
""")
"""KEYS members; ARGV limit, life, members… → 0 when it is full. Without a limit, members stay what they are."""

LEAVE = Script(f"""{_NOW}
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 0 end
if ARGV[1] == '0' then return redis.call('ZREM', KEYS[1], ARGV[2]) end
redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), ARGV[1]))
""")
"""KEYS members; ARGV linger, member."""

MEMBERS = Script(f"""{_NOW}
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')
""")
"""KEYS members → those that are members now."""

TEXTS = {script.sha: script.text for script in list(globals().values()) if isinstance(script, Script)}
"""Every script by its hash, for a Redis that does not know it."""
