"""Makes the transactions that core-api queued; a worker of rq calls it."""


def make_transaction(amount: int, currency: str, user_id: int) -> str:
    """What a demo does in place of asking a payment service provider."""
    print(f"==> Making transaction with PSP: User ID: {user_id}, Amount: {amount}, Currency: {currency}", flush=True)
    return "made"
