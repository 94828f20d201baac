"""Links in e-mails that do something: signed, so that nobody can make one up, and without an end date."""

from __future__ import annotations

from itsdangerous import BadData, URLSafeSerializer


class UnsubscribeLinks:
    """One link a subscription and address (RFC 8058); the same on every delivery, valid for as long as the key is."""

    def __init__(self, base_url: str, key: bytes) -> None:
        self._base_url = base_url.rstrip("/")
        self._serializer = URLSafeSerializer(key, salt="unsubscribe")

    def url(self, subscription_id: int, address: str) -> str:
        """Where this address leaves this subscription."""
        return f"{self._base_url}/unsubscribe/{self._serializer.dumps([subscription_id, address])}"

    def read(self, token: str) -> tuple[int, str] | None:
        """Whose link it is; None when it is not one of ours."""
        try:
            subscription_id, address = self._serializer.loads(token)
        except (BadData, ValueError, TypeError):
            return None
        return int(subscription_id), str(address)
