import argparse
import os
import time
import uuid

import psycopg
from psycopg.types.json import Json


def end_call(connection, user_id, call_id, outcome, fail=False):
    with connection.transaction():
        connection.execute("insert into calls (id, status) values (%s, %s)", (call_id, outcome["status"]))
        # Json and not Jsonb: partners get the payload as it is written here, and jsonb would rewrite it.
        deliveries = connection.execute(
            "select enqueue_call_outcome_webhook(%s, %s, %s)", (user_id, call_id, Json(outcome))
        ).fetchall()
        if fail:
            raise RuntimeError("failing before the commit")
    return [delivery_id for (delivery_id,) in deliveries]


parser = argparse.ArgumentParser()
parser.add_argument("--fail", action="store_true", help="fail before the commit")
parser.add_argument("--count", type=int, default=0, help="end so many calls, and print when each was committed")
arguments = parser.parse_args()

# With autocommit, what is outside of connection.transaction() leaves no transaction open.
with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
    for _ in range(arguments.count or 1):
        call_id = f"call_{uuid.uuid4()}"
        outcome = {"event_type": "call.completed", "call_id": call_id, "status": "completed", "agent": "Zoë"}
        deliveries = end_call(connection, "user_123", call_id, outcome, arguments.fail)
        committed_at = [time.time()] if arguments.count else []
        for delivery_id in deliveries:
            print(delivery_id, *committed_at)
        if arguments.count:
            time.sleep(0.05)
