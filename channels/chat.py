"""A language model behind an OpenAI-compatible API: one question, one short answer, or why there is none.

Whoever asks is kept waiting for a bounded time, and hardly at all while the model keeps failing.
Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import aiohttp

from channels.base import Sent, system_clock
from channels.dialling import BlockedDial
from channels.http import NO_LIMIT_OF_ITS_OWN, failure_of, outcome_of
from channels.outbound import OutboundPolicy
from channels.outbound_http import OutboundSession, read_answer

TOTAL_LIMIT = 20.0  # seconds for one question, from the wait for a turn to the last byte of the answer
AT_ONCE = 8  # questions of a process that are under way
LONGEST_ANSWER = 256 * 1024  # bytes; a few sentences need two thousand
TOKENS = 400  # some 300 words: four sentences in any language
TEMPERATURE = 0.2

FAILURES = 3  # in a row, and the model is left alone …
REST = 300.0  # … for so many seconds: what waits for its answer keeps others waiting


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why there is no answer: short, for the operator, with nothing in it of URL, key, question or what came back."""

    reason: str


class ChatModel:
    """``url`` is the API's, without ``/chat/completions``; its host may be anywhere, as the operator set it."""

    def __init__(
        self,
        *,
        url: str,
        model: str,
        key: str | None,
        policy: OutboundPolicy,
        total: float = TOTAL_LIMIT,
        rest: float = REST,
    ) -> None:
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model
        self._headers = {"content-type": "application/json"}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._outbound = OutboundSession(policy.with_host_of(url), total=total)
        self._total = total
        self._rest = rest
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._failures = 0
        self._rests_until = 0.0

    async def ask(self, instructions: str, question: str) -> str | Unanswered:
        """What the model says to the question, as it says it. Never raises."""
        if self._seconds() < self._rests_until:
            return Unanswered("The model failed several times in a row; it is asked again in a few minutes.")
        answer = await self._answer(self._body(instructions, question))
        self._failures = self._failures + 1 if isinstance(answer, Unanswered) else 0
        if self._failures >= FAILURES:
            self._rests_until = self._seconds() + self._rest
        return answer

    async def aclose(self) -> None:
        """Let go of kept connections."""
        await self._outbound.aclose()

    def _body(self, instructions: str, question: str) -> bytes:
        messages = [{"role": "system", "content": instructions}, {"role": "user", "content": question}]
        fields = {"model": self._model, "messages": messages, "temperature": TEMPERATURE, "max_tokens": TOKENS}
        return json.dumps(fields).encode()

    async def _answer(self, body: bytes) -> str | Unanswered:
        try:
            async with asyncio.timeout(self._total), self._turns:
                return await self._exchange(body)
        except aiohttp.ClientPayloadError:
            return Unanswered(f"The answer is cut off, or longer than {LONGEST_ANSWER // 1024} kB.")
        except (TimeoutError, OSError, aiohttp.ClientError, BlockedDial) as error:
            unreached = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            return Unanswered(failure_of(error, handed_over=not unreached).reason)

    async def _exchange(self, body: bytes) -> str | Unanswered:
        asked = self._outbound.request("POST", self._url, data=body, headers=self._headers, timeout=NO_LIMIT_OF_ITS_OWN)
        async with await asked as answer:
            outcome = outcome_of(answer.status, {}, now=system_clock())
            if not isinstance(outcome, Sent):
                return Unanswered(outcome.reason)
            return _text_in(b"".join([chunk async for chunk in read_answer(answer, LONGEST_ANSWER)]))

    @staticmethod
    def _seconds() -> float:
        return asyncio.get_running_loop().time()


def _text_in(body: bytes) -> str | Unanswered:
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Unanswered("The answer is no chat completion; check PAPERROUND_SUMMARY_URL.")
    return text if isinstance(text, str) else Unanswered("The answer has no text.")
