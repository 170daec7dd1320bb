"""Who reads which partition: leases in the store that holds the states, so that no broker has to agree about workers.

    hash PROJECT:leases:GROUP:TOPIC      at      when anyone renewed last
                                         calm    until when nobody takes what is free
                                         m:NAME  INCARNATION UNTIL
                                         p:0     NAME, p:1 NAME ...

Times are the store's own, in ms, so no worker's clock matters. A lease is about time, never about what counts: a worker
that reads what another one has got is harmless, since fences decide (`features.fold`).
"""

import re
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import redis

from data.errors import ConfigurationError

__all__ = ["SESSION_S", "Held", "Leases", "Member"]

SESSION_S = 3.0
"""A worker that is silent for so long loses its partitions to others, where nothing else is said."""

_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")

_FADES = 20
"""Sessions after which leases that nobody renews are forgotten altogether."""

# Everyone has floor(P/n) partitions; P mod n of them, those that have the most already, have one more. Where nobody
# renewed for half a session the store was away, or its clock jumped: every lease is extended. Where the store has
# forgotten all, those who had something take it up, and for a session nobody takes more.
_RENEW = """
local name, incarnation, session, partitions, joins = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function ms(number) return string.format('%.0f', number) end

local at, calm, members, owners = nil, 0, {}, {}
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  local kind, id, value = found[i]:sub(1, 2), found[i]:sub(3), found[i + 1]
  if kind == 'm:' then
    local of, ends = value:match('^(%S+) (%d+)$')
    members[id] = {of, tonumber(ends)}
  elseif kind == 'p:' then owners[tonumber(id)] = value
  elseif found[i] == 'at' then at = tonumber(value)
  else calm = tonumber(value) end
end
if joins == '0' and members[name] and members[name][1] ~= incarnation then return {0} end

local function own(number, owner)
  owners[number] = owner
  if owner then redis.call('HSET', KEYS[1], 'p:' .. number, owner) else redis.call('HDEL', KEYS[1], 'p:' .. number) end
end
local function live(member, of, ends)
  members[member] = {of, ends}
  redis.call('HSET', KEYS[1], 'm:' .. member, of .. ' ' .. ms(ends))
end

if at and (now < at or now - at > session / 2) then
  for member, it in pairs(members) do live(member, it[1], now + session) end
elseif not at and ARGV[6] ~= '' then
  calm = now + session
end
live(name, incarnation, now + session)
local names = {}
for member, it in pairs(members) do
  if it[2] < now then redis.call('HDEL', KEYS[1], 'm:' .. member) else names[#names + 1] = member end
end
for number, owner in pairs(owners) do
  if members[owner] == nil or members[owner][2] < now then own(number, nil) end
end
for number in ARGV[7]:gmatch('%d+') do
  if owners[tonumber(number)] == name then own(tonumber(number), nil) end
end
if now < calm then
  for number in ARGV[6]:gmatch('%d+') do
    if not owners[tonumber(number)] then own(tonumber(number), name) end
  end
end

local has = {}
for number = 0, partitions - 1 do
  if owners[number] then has[owners[number]] = (has[owners[number]] or 0) + 1 end
end
table.sort(names, function(a, b)
  local left, right = has[a] or 0, has[b] or 0
  if left ~= right then return left > right end
  return a < b
end)
local share = math.floor(partitions / #names)
for rank = 1, partitions % #names do
  if names[rank] == name then share = share + 1 end
end
local mine, give = {}, {}
for number = 0, partitions - 1 do
  if not owners[number] and (has[name] or 0) < share and now >= calm then
    own(number, name)
    has[name] = (has[name] or 0) + 1
  end
  if owners[number] == name then
    mine[#mine + 1] = number
    if #mine > share then give[#give + 1] = number end
  end
end
redis.call('HSET', KEYS[1], 'at', ms(now), 'calm', ms(calm))
redis.call('PEXPIRE', KEYS[1], ms(session * tonumber(ARGV[8])))
return {1, mine, give}
"""

_LEAVE = """
local member = redis.call('HGET', KEYS[1], 'm:' .. ARGV[1])
if not member or member:match('^%S+') ~= ARGV[2] then return end
redis.call('HDEL', KEYS[1], 'm:' .. ARGV[1])
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do
  if found[i]:sub(1, 2) == 'p:' and found[i + 1] == ARGV[1] then redis.call('HDEL', KEYS[1], found[i]) end
end
"""


class Held(NamedTuple):
    """The partitions that a member has, and those among them that it should give back, being more than its share."""

    mine: frozenset[int] = frozenset()
    give: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Member:
    """One worker of a group on a topic. Whoever comes under a name has it from then on, with its partitions;
    `incarnation` tells him from those who had it before. ConfigurationError of a name that is none."""

    topic: str
    group: str
    name: str
    session_s: float = SESSION_S
    incarnation: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"worker name {self.name!r}: use up to 249 letters, digits, dots, dashes and underscores"
            )

    def renamed(self) -> "Member":
        """A member of a name that nobody else has."""
        incarnation = uuid.uuid4().hex
        return replace(self, name=f"{self.name[:240]}-{incarnation[:8]}", incarnation=incarnation)


class Leases:
    """The leases in one Redis (or Valkey, or Redis Cluster): every operation is one script on one key. Errors are
    redis-py's."""

    def __init__(self, client: "redis.Redis", project: str) -> None:
        self._client: Any = client
        self._project = project

    def renew(
        self,
        member: Member,
        partitions: int,
        held: Collection[int] = (),
        released: Collection[int] = (),
        *,
        joins: bool = False,
    ) -> Held | None:
        """Live on for a session, give back what is `released`, and take what is free, up to a fair share of so many
        `partitions`. `held` is what the member last had, in case the store forgot. A member that `joins` takes its name
        from whoever has it; None of one whose name was taken so."""
        answer = self._run(
            _RENEW,
            member,
            int(member.session_s * 1000),
            partitions,
            int(joins),
            ",".join(map(str, held)),
            ",".join(map(str, released)),
            _FADES,
        )
        return Held(frozenset(answer[1]), frozenset(answer[2])) if answer[0] else None

    def leave(self, member: Member) -> None:
        """Live no more: what the member has is free."""
        self._run(_LEAVE, member)

    def _run(self, script: str, member: Member, *arguments: object) -> Any:
        key = f"{self._project}:leases:{member.group}:{member.topic}"
        return self._client.eval(script, 1, key, member.name, member.incarnation, *arguments)
