import json
import os
import sys
import uuid

from sqlalchemy import create_engine, text


def end_call(engine, user_id, call_id, outcome, fail=False):
    with engine.begin() as connection:  # a Session executes the same statements
        connection.execute(
            text("insert into calls (id, status) values (:call_id, :status)"),
            {"call_id": call_id, "status": outcome["status"]},
        )
        # json and not jsonb: partners get the payload as it is written here, and jsonb would rewrite it.
        deliveries = connection.execute(
            text("select enqueue_call_outcome_webhook(:user_id, :call_id, cast(:outcome as json))"),
            {"user_id": user_id, "call_id": call_id, "outcome": json.dumps(outcome)},
        )
        delivery_ids = deliveries.scalars().all()
        if fail:
            raise RuntimeError("failing before the commit")
    return delivery_ids


# SQLAlchemy does not know the short form of the scheme.
engine = create_engine(os.environ["DATABASE_URL"].replace("postgres://", "postgresql://", 1))
call_id = f"call_{uuid.uuid4()}"
outcome = {"event_type": "call.completed", "call_id": call_id, "status": "completed", "agent": "Zoë"}
for delivery_id in end_call(engine, "user_123", call_id, outcome, fail="--fail" in sys.argv):
    print(delivery_id)
